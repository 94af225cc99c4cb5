"""The device of a run and the dtype of its networks: given by name, checked, or chosen by the device's capabilities."""

import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from ebm_refine.errors import InputError
from ebm_refine.parameters import shorten

PRECISIONS = ("auto", "fp32", "bf16")


def check_device(name: str) -> str:
    """`name` itself where this machine has that device: "cpu", "cuda" or "cuda:1". Raises InputError."""
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    present = ["cpu", *(["cuda", *cuda] if cuda else [])]
    if name not in present:
        raise InputError(f"device must be one of {', '.join(present)} on this machine; got {shorten(name)}")
    return name


def dtype_for(precision: str, device: str) -> torch.dtype:
    """What the networks are to be computed in: float32 or bfloat16.

    "auto" is bfloat16 where the device computes in it natively, else float32. A timing at load might say something else from
    run to run, and with it every bit of the images; what the hardware has does not change. Raises InputError for an unknown
    precision, and for "bf16" where the device would only emulate it.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}; got {shorten(precision)}")
    native = has_bfloat16(device)
    if precision == "bf16" and not native:
        raise InputError(f"precision bf16 needs a device with native bfloat16, which {device} here has not: use fp32 or auto")
    return torch.bfloat16 if native and precision != "fp32" else torch.float32


def has_bfloat16(device: str) -> bool:
    """Whether the device has instructions for bfloat16, and PyTorch convolutions that use them."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Before PyTorch 2.12 there may be no such table; such a processor counts as one without.
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return torch.backends.mkldnn.is_available() and any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def exact_convolutions(device: torch.device) -> AbstractContextManager[None]:
    """Inside, float32 convolutions on CUDA are computed in float32, not TF32, and give the same bits every time."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def processor() -> str:
    """The number of processors and their own name, where Linux gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()
