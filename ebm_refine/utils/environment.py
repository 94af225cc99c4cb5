"""What the last bits of a run depend on beyond its settings: where and in what it was computed.

Sums are taken in another order by another number of threads, by processors of another generation, on another device, in another
number format, and by another version of PyTorch. No clock, host or path is among it.
"""

from typing import Any

import torch

from ebm_refine.parameters import shorten

# What each entry is, in the sentence that says why a run cannot be repeated.
WORDS = {
    "torch": "version of PyTorch",
    "device": "device",
    "gpu": "GPU",
    "processor": "kind of processor",
    "threads": "number of threads",
    "precision": "precision",
    "weights": "fingerprint of the model's weights",
}


def environment(device: str, precision: str, weights: str) -> dict[str, Any]:
    """The entries as plain values. `precision` is "fp32" or "bf16", `weights` the model's fingerprint."""
    common = {"torch": torch.__version__, "precision": precision, "weights": weights}
    kind = torch.device(device).type
    if kind == "cuda":
        return {**common, "device": kind, "gpu": torch.cuda.get_device_name(device)}
    return {
        **common,
        "device": kind,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def difference(recorded: dict[str, Any], here: dict[str, Any]) -> str:
    """The first entry that keeps bits from being those of the record, in words; empty where all are alike."""
    for name, what in WORDS.items():
        if recorded.get(name) != here.get(name):
            return f"the {what} differs, {shorten(recorded.get(name))} then and {shorten(here.get(name))} here"
    return ""
