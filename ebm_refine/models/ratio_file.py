"""A fitted ratio in one file: its network, what was found out about it, and a probe of the generator that it was fitted to.

A ratio is log p_data / p_gen of one generator, so the file keeps what that generator made of a few fixed latents, and no other
generator's pair takes it.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as packed
from torch import Tensor, nn

from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models import networks
from ebm_refine.models.checkpoint import Part
from ebm_refine.models.pair import Pair
from ebm_refine.models.pair_checks import Probe, check_fitted
from ebm_refine.parameters import shorten
from ebm_refine.utils.atomic_io import replacing

FORMAT = "ebm_refine ratio 1"
NETWORK, PROBE, REAL = "network.", "generator-probe", "holdout-ratios"
REAL_RATIOS = "holdout-ratios"
# How far a generator's samples may be from those in the file, of a range of 2: other processors round otherwise.
TOLERANCE = 0.02
MAX_HEADER = 2**20


@torch.no_grad()
def probed(pair: Pair) -> Tensor:
    """What the pair's generator makes of a few fixed latents, (8, C, h, w) with h, w <= 8, or (8, d)."""
    probe = probe_of(pair)
    samples = pair.networks["generator"](probe.latents(), *probe.labels())
    if samples.ndim == 2:
        return samples.contiguous()
    return F.adaptive_avg_pool2d(samples, (min(8, samples.shape[2]), min(8, samples.shape[3]))).contiguous()


def probe_of(pair: Pair) -> Probe:
    generator: Any = pair.networks["generator"]
    own: Any = pair.networks.get("prior")
    labels = pair.config.get("labels")
    return Probe(generator.shape, pair.config["prior"]["name"], own, labels["count"] if labels else 0)


def attached(pair: Pair, part: Part, entries: dict[str, Any], real: Tensor) -> Pair:
    """The pair with a ratio: `entries` join the config, `real` (R,) are r of held-out real samples.

    A score without a gradient is left out, since every method runs with the ratio.
    """
    config = {**pair.config, **entries}
    described = {"architecture": part.architecture, "arguments": part.arguments, "sha256": weights_hash(part.network)}
    config["parts"] = {**pair.config["parts"], "ratio": described}
    own = dict(pair.networks)
    if config.get("no_gradient", "").startswith("the score"):  # it gives way to a ratio that has a gradient
        own.pop("discriminator")
        config["parts"].pop("discriminator")
        config.pop("no_gradient")
    tables = {**pair.tables, REAL_RATIOS: {**pair.tables.get(REAL_RATIOS, {}), "refitted": real.contiguous()}}
    return replace(pair, config=config, networks={**own, "ratio": part.network}, tables=tables, _prepared={})


def save_ratio(pair: Pair, path: Path) -> Path:
    """Write the pair's fitted ratio, in one step. Raises InputError where it has none or `path` cannot be written."""
    described = pair.config["parts"].get("ratio")
    if described is None:
        raise InputError(f"model {pair.name!r} has no fitted ratio to save: fit one with fit_ratio")
    tensors = {
        f"{NETWORK}{key}": value.detach().cpu().contiguous() for key, value in pair.networks["ratio"].state_dict().items()
    }
    tensors |= {PROBE: probed(pair).cpu(), REAL: pair.tables[REAL_RATIOS]["refitted"]}
    metadata = {"architecture": described["architecture"], "arguments": described["arguments"]}
    metadata |= {name: pair.config[name] for name in ("ratio_report", "training") if name in pair.config}
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; name a file, such as {str(path / 'ratio.safetensors')!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(packed(tensors, metadata={"format": FORMAT, "ratio": json.dumps(metadata)}))
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror or type(error).__name__}") from None
    return path


def with_ratio(pair: Pair, path: Path) -> Pair:
    """The pair with the ratio of a file. Raises CheckpointError where the file is damaged or of another generator."""
    metadata, tensors = _read(path)
    probe = probed(pair)
    if tensors[PROBE].shape != probe.shape:
        raise CheckpointError(f"{path} was fitted to samples of another shape, not to those of {pair.name!r}")
    scale = 2.0 if probe.ndim == 4 else float(tensors[PROBE].std().clamp(min=1e-12))
    apart = float((tensors[PROBE] - probe).abs().max())
    if not apart <= TOLERANCE * scale:
        raise CheckpointError(
            f"{path} was fitted to another generator: on the same latents samples differ by {apart:.3g}; fit it anew"
        )
    weights = {key.removeprefix(NETWORK): value for key, value in tensors.items() if key.startswith(NETWORK)}
    try:
        with torch.device("meta"):
            network = networks.build(metadata["architecture"], metadata["arguments"])
        network.load_state_dict(weights, strict=True, assign=True)
    except Exception as error:  # whatever a constructor makes of arguments that came from a file
        raise CheckpointError(f"{path} holds no ratio that can be built: {' '.join(str(error).split())[:200]}") from None
    part = Part(metadata["architecture"], metadata["arguments"], network.eval().requires_grad_(False))
    made = attached(
        pair, part, {name: metadata[name] for name in ("ratio_report", "training") if name in metadata}, tensors[REAL]
    )
    check_fitted(path, made.networks, probe_of(pair))
    return made


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"ratio {str(path)!r} is not there: give a file that save_ratio wrote")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {' '.join(str(error).split())[:120]}") from None
    if metadata.get("format") != FORMAT or not {PROBE, REAL} <= tensors.keys():
        raise CheckpointError(f"{path} is no ratio file: give one that save_ratio wrote")
    for key, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"{path}: {key} holds numbers that are not finite")
    try:
        described = json.loads(metadata["ratio"])
    except (KeyError, ValueError):
        described = None
    known = isinstance(described, dict) and described.get("architecture") in networks.RATIOS
    if not known or not isinstance(described.get("arguments"), dict):
        raise CheckpointError(f"{path} names no ratio network that is known: {shorten(described)}")
    return described, tensors


def weights_hash(network: nn.Module) -> str:
    """sha256 of a network's weights as a file of safetensors would hold them."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    return hashlib.sha256(packed(state)).hexdigest()
