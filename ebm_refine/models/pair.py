"""Your own GAN as a model: any generator, any score.

`pair(generator, discriminator, latent=64)` gives what is accepted wherever a model's name is. A small test call
checks the callables before anything is sampled (`models.pair_checks`).
"""

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint, Prepared
from ebm_refine.models.fuse import prepare
from ebm_refine.models.kinds import MAX_LABELS
from ebm_refine.models.own_networks import OwnGenerator, OwnNetwork, OwnPrior, frozen, module_of
from ebm_refine.models.pair_checks import Probe, check_generator, check_prior, check_score, generator_settings
from ebm_refine.parameters import shorten

OUTPUTS = ("logit", "critic", "energy", "inverted")
MAX_LATENT, MAX_NAME = 2**20, 100
NAME = re.compile(rf"[^./\\][^/\\]{{0,{MAX_NAME - 1}}}")
# Numbers in a chunk of samples: 64 images of 64x64 in colour. Larger images run fewer at a time, so that memory is bounded.
CHUNK_NUMBERS = 64 * 3 * 64 * 64
LARGEST_CHUNK = {"cpu": 64, "cuda": 256}


@dataclass(frozen=True)
class Pair(Checkpoint):
    """Own callables as a loaded model. Make it with `pair`; `networks` are their adapters, and there is no folder.

    Own modules run as they are: where they are (or on the device that a run names; they are moved there and stay), in their own
    number format, unfused, in eval mode, frozen.
    """

    @property
    def runs_as_given(self) -> bool:
        return True

    def prepared_on(self, device: str, dtype: torch.dtype) -> Prepared:
        prepared = self._prepared.setdefault((device, torch.float32), Prepared({}, {}))
        for role, network in self.networks.items():
            if isinstance(network, OwnNetwork):
                prepared.networks[role] = network.settled(None if device == "cpu" else device)
            elif role not in prepared.networks:  # a fitted ratio is one of this package's networks
                prepared.networks[role] = network if isinstance(network, OwnPrior) else prepare(network).to(device)
        return prepared

    def chunk(self, device: str) -> int:
        """How many samples run at a time: a power of two, fewer of larger images."""
        numbers = math.prod(self.config["data"]["shape"])
        most = LARGEST_CHUNK["cuda" if device.startswith("cuda") else "cpu"]
        return min(most, 1 << max(most * CHUNK_NUMBERS // (64 * numbers), 1).bit_length() - 1)

    def save_ratio(self, path: str | Path) -> Path:
        """Write the fitted ratio into one `.safetensors` file, for `pair(…, ratio=path)`.

        Raises InputError where there is none, or the file cannot be written.
        """
        from ebm_refine.models.ratio_file import save_ratio

        return save_ratio(self, Path(path))


def pair(
    generator: Callable[..., Any],
    discriminator: Callable[..., Any] | None = None,
    *,
    latent: int | Sequence[int],
    prior: str | tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] = "normal",
    output: str = "logit",
    value_range: tuple[float, float] = (-1, 1),
    labels: int | Sequence[float] | None = None,
    ratio: str | Path | None = None,
    name: str = "mine",
) -> Pair:
    """Your own generator and score as a model for `refine`, `stream`, `evaluate` and `fit_ratio`.

    generator: any callable of latents (B, *latent) float32, and labels (B,) int64 where there are any, that gives images
    (B, C, H, W) in `value_range`, or vectors (B, d). The same latent must give the same sample twice.
    discriminator: any callable of such samples (and labels) that gives one number each, (B,), (B, 1) or (B, 1, 1, 1): a
    discriminator, a critic, a reward. It need not be PyTorch; then methods that follow gradients raise an error, and the
    others run. None: fit a ratio with `fit_ratio`.
    latent: dimension or shape. prior: "normal", "uniform" (on [-1, 1]), or two functions: `sample` maps standard normal noise
    (B, *latent) to latents, `log_density` latents to (B,), a constant may be missing.
    output: what the score means: "logit" (high is real), "critic" (a Wasserstein score), "energy" (low is real), "inverted" (a
    logit of "generated"). labels: the number of classes, or their probabilities. ratio: a file of `save_ratio`. name: what
    results are called; at most 100 characters, no slashes.

    An `nn.Module` is put into eval mode and its parameters are frozen; neither is undone. Raises InputError, one sentence,
    for whatever a small call finds wrong.
    """
    shape = _latent(latent)
    if output not in OUTPUTS:
        raise InputError(f"output must be one of {', '.join(OUTPUTS)}; got {shorten(output)}")
    if not isinstance(name, str) or not NAME.fullmatch(name) or not name.isprintable():
        raise InputError(
            f"name must be a text of at most {MAX_NAME} characters, no dot first, no slashes and no line breaks, since "
            f"folders are called so; got {shorten(name)}"
        )
    limits, classes = _value_range(value_range), _labels(labels)
    for role, function in (("generator", generator), ("discriminator", discriminator)):
        if not callable(function) and not (role == "discriminator" and function is None):
            raise InputError(f"the {role} must be a callable, such as an nn.Module; got {shorten(function)}")
    for function in (generator, discriminator):
        if (module := module_of(function)) is not None:
            frozen(module)

    law, own = _prior(prior, shape)
    probe = Probe(shape, law, own, classes["count"] if classes else 0)
    no_gradient = "" if own is None else check_prior(own, probe)
    made = OwnGenerator(generator, shape, None, classes is not None)
    samples = check_generator(made, probe, limits)
    vectors = samples.ndim == 2
    scale = None if vectors else limits
    networks: dict[str, nn.Module] = {"generator": OwnGenerator(generator, shape, scale, classes is not None)}
    config: dict[str, Any] = {
        "kind": "points" if vectors else "pair",
        "title": name,
        "prior": {"name": law, "dim": math.prod(shape)},
        "data": generator_settings(samples, name),
        "parts": {"generator": _described(generator, samples)},
        "discriminator_output": output,
        "defaults": {},
        "training": {},
        **({"labels": classes} if classes else {}),
    }
    if own is not None:
        networks["prior"] = own
    if discriminator is not None:
        seen = check_score(discriminator, scale, networks["generator"], probe)
        networks["discriminator"] = seen.score
        config["parts"]["discriminator"] = _described(discriminator, seen.values)
        no_gradient = no_gradient or seen.no_gradient
    if no_gradient:
        config["no_gradient"] = no_gradient
    made_pair = Pair(name, Path(), config, networks)
    if ratio is not None:
        from ebm_refine.models.ratio_file import with_ratio

        if not isinstance(ratio, str | Path):
            raise InputError(f"ratio must be a file of save_ratio; got {shorten(ratio)}")
        made_pair = with_ratio(made_pair, Path(ratio))
    return made_pair


def _latent(latent: Any) -> tuple[int, ...]:
    sizes = (latent,) if isinstance(latent, int) and not isinstance(latent, bool) else latent
    if isinstance(sizes, Sequence) and not isinstance(sizes, str) and sizes:
        whole = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes)
        if whole and math.prod(sizes) <= MAX_LATENT:
            return tuple(sizes)
    raise InputError(f"latent must be a dimension or a shape, such as 64 or (64, 1, 1); got {shorten(latent)}")


def _value_range(limits: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in limits)
    except (TypeError, ValueError):
        raise InputError(f"value_range must be two numbers, such as (-1, 1) or (0, 1); got {shorten(limits)}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"value_range must be (low, high) with low < high; got {shorten(limits)}")
    return low, high


def _labels(labels: Any) -> dict[str, Any] | None:
    """The `labels` entry of the config."""
    if labels is None:
        return None
    if isinstance(labels, int) and not isinstance(labels, bool):
        if 2 <= labels <= MAX_LABELS:
            return {"count": labels}
    elif isinstance(labels, Sequence | Tensor | np.ndarray) and not isinstance(labels, str):
        try:
            shares = [float(share) for share in labels]
        except (TypeError, ValueError, RuntimeError):
            shares = []
        if len(shares) > 1 and all(share >= 0 for share in shares) and abs(sum(shares) - 1) < 1e-6:
            return {"count": len(shares), "probabilities": shares}
    raise InputError(
        f"labels must be the number of classes, 2 or more, or probabilities that add up to 1; got {shorten(labels)}"
    )


def _prior(prior: Any, shape: tuple[int, ...]) -> tuple[str, OwnPrior | None]:
    if isinstance(prior, str) and prior in ("normal", "uniform"):
        return prior, None
    if isinstance(prior, Sequence) and not isinstance(prior, str) and len(prior) == 2 and all(map(callable, prior)):
        return "own", OwnPrior(prior[0], prior[1], shape)
    raise InputError(f"prior must be normal, uniform, or two functions (sample, log_density); got {shorten(prior)}")


def _described(function: Any, values: Tensor) -> dict[str, Any]:
    """The entry of a part: a hash of a module's weights, or of what any other callable gave when it was tried out."""
    digest = hashlib.sha256()
    module = module_of(function)
    if module is not None:
        for key, value in module.state_dict().items():
            digest.update(key.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(values.detach().cpu().double().mul(1e3).round().numpy().tobytes())
    kind = type(module).__name__ if module is not None else getattr(function, "__name__", type(function).__name__)
    return {"architecture": f"own:{kind}", "arguments": {}, "sha256": digest.hexdigest()}
