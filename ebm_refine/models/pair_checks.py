"""A small test call of the user's generator and score finds errors before a run, each with one sentence."""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ebm_refine.errors import InputError
from ebm_refine.models.own_networks import OwnGenerator, OwnPrior, OwnScore, module_of
from ebm_refine.samplers.rng import Draws, Stream

PROBED = 8
# How far the same sample may differ between two batches: other widths sum in another order.
ROUNDING = 1e-2
MAX_SAMPLE = 2**26


class Probe(NamedTuple):
    """What the callables are tried out with: `classes` labels (0: none) and the law of the latents."""

    latent: tuple[int, ...]
    law: str
    own: OwnPrior | None
    classes: int

    def latents(self, rows: int = PROBED) -> Tensor:
        """(rows, d) float32 from the prior, the same every time."""
        noise = Draws(0, torch.arange(rows), 0).normal((math.prod(self.latent),), Stream.PILOT)
        if self.own is not None:
            return self.own.sample(noise)
        return torch.erf(noise * math.sqrt(0.5)) if self.law == "uniform" else noise

    def labels(self, rows: int = PROBED) -> tuple[Tensor, ...]:
        """Labels (rows,) int64, the first and the last class among them; none where the pair has no labels."""
        return ((torch.arange(rows) - rows // 2) % self.classes,) if self.classes else ()


class Seen(NamedTuple):
    """A score that was tried out: its adapter, `values` (B,), and why it has no gradient, if it has none."""

    score: OwnScore
    values: Tensor
    no_gradient: str


@torch.no_grad()
def check_prior(prior: OwnPrior, probe: Probe) -> str:
    """Why the log density has no gradient; empty where it has one. Raises InputError for a prior that cannot be used."""
    wanted = "sample must map standard normal noise to latents, and log_density latents to one number each"
    try:
        latents = probe.latents()
        density = prior.log_density(latents)
        again = probe.latents()
    except Exception as error:
        raise InputError(f"the prior fails: {said(error)}; {wanted}") from None
    if latents.shape != (PROBED, math.prod(probe.latent)):
        raise InputError(f"the prior's sample gives {tuple(latents.shape)} for {PROBED} latents of {probe.latent}; {wanted}")
    if not latents.isfinite().all() or not density.isfinite().all():
        raise InputError("the prior gives latents or log densities that are not finite numbers")
    if not torch.equal(latents, again):
        raise InputError(
            "the prior's sample must be a function of the noise that it is given: two calls gave different latents"
        )
    with torch.enable_grad():
        try:
            position = latents.clone().requires_grad_()
            torch.autograd.grad(prior.log_density(position).sum(), position)
        except Exception:
            return "the prior's log density is not differentiable"
    return ""


@torch.no_grad()
def _fewer_classes(generator: OwnGenerator, probe: Probe) -> str:
    """A remedy, where the generator knows the first classes but not all that were named."""
    latents = probe.latents()
    for label in range(probe.classes):
        try:
            generator(latents, torch.full((PROBED,), label))
        except Exception:
            return f"; it knows the classes 0 to {label - 1}, so give labels={label}" if label > 1 else ""
    return ""


@torch.no_grad()
def check_generator(generator: OwnGenerator, probe: Probe, limits: tuple[float, float]) -> Tensor:
    """Samples (B, C, H, W) or (B, d), as the callable gives them. Raises InputError."""
    latents, labels = probe.latents(), probe.labels()
    shown = f"latents of shape {(PROBED, *probe.latent)}" + (f" and labels of shape {(PROBED,)}" if labels else "")
    try:
        samples = generator(latents, *labels)
    except Exception as error:
        remedy = _fewer_classes(generator, probe) or _other_shape(generator, probe)
        raise InputError(f"the generator fails on {shown}: {said(error)}{remedy}") from None
    shape = tuple(samples.shape)
    if samples.ndim not in (2, 4) or len(samples) != PROBED:
        raise InputError(f"the generator gives {shape} for {shown}; images (B, C, H, W) or vectors (B, d) are needed")
    if samples[0].numel() > MAX_SAMPLE:
        raise InputError(f"the generator gives samples of {samples[0].numel()} numbers, above {MAX_SAMPLE}")
    if samples.ndim == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3):
        raise InputError(f"the generator gives {shape}; channels come first, (B, C, H, W): permute the axes")
    if samples.ndim == 4 and shape[1] not in (1, 3):
        raise InputError(f"the generator gives images of {shape[1]} channels; 1 (grey) or 3 (colour) can be shown and measured")
    if not samples.isfinite().all():
        raise InputError("the generator gives numbers that are not finite: look for NaN in its weights")
    spread = float((samples.amax() - samples.amin()).clamp(min=1e-12))
    if _differ(generator(latents, *labels), samples, spread * 1e-4):
        raise InputError(
            "the generator gives another sample when called again with the same latent: it draws noise of its own; fix that "
            "noise or make it part of the latent"
        )
    if _differ(generator(latents[:2], *(one[:2] for one in labels)), samples[:2], spread * ROUNDING):
        raise InputError(
            "the generator's samples depend on the others in the batch: put batch norms into eval mode, and leave out whatever "
            "looks at the whole batch"
        )
    if not _differ(samples, samples[:1].expand_as(samples), spread * 1e-4):
        raise InputError("the generator gives the same sample for different latents: it ignores its latent")
    if samples.ndim == 4:
        _check_range(samples, limits)
    return samples


def _check_range(samples: Tensor, limits: tuple[float, float]) -> None:
    low, high = float(samples.min()), float(samples.max())
    margin = 0.05 * (limits[1] - limits[0])
    seen = f"the generator gives values from {low:.3g} to {high:.3g}"
    if low < limits[0] - margin or high > limits[1] + margin:
        raise InputError(f"{seen}, outside value_range {limits}: give the range of its images")
    # One image may be bright all over; several are not.
    if limits[0] < 0 and low >= 0 and high <= 1:
        warnings.warn(f"{seen}, all in the upper half of {limits}: behind a sigmoid, give value_range=(0, 1)", stacklevel=4)


def check_score(function: Callable[..., Any], limits: tuple[float, float] | None, generator: nn.Module, probe: Probe) -> Seen:
    """Try the score on generated samples. Raises InputError."""
    latents, labels = probe.latents(), probe.labels()
    with torch.no_grad():
        samples = generator(latents, *labels)
    score, values = _called(function, limits, samples, labels)
    if not values.isfinite().all():
        raise InputError("the discriminator gives numbers that are not finite: look for NaN in its weights")
    if _ends_in_sigmoid(function):
        raise InputError(
            "the discriminator ends in a sigmoid, which hides the logit that is needed: leave that layer out, as in D.main[:-1]"
        )
    mine = labels if score.takes_labels else ()
    with torch.no_grad():
        again, fewer = score(samples, *mine), score(samples[:2], *(one[:2] for one in mine))
        noise = Draws(0, torch.arange(PROBED), 0).uniform(tuple(samples.shape[1:]), Stream.PILOT)
        other = score(noise * 2 - 1 if samples.ndim == 4 else noise, *mine)
    spread = float(torch.cat([values, other]).std())
    if not spread:
        raise InputError(f"the discriminator gives {float(values[0]):.4g} whatever it is shown: it cannot tell samples apart")
    if _differ(again, values, 1e-3 * spread):
        raise InputError(
            "the discriminator gives another number when it is shown the same sample again: it draws noise of its own"
        )
    if _differ(fewer, values[:2], ROUNDING * max(spread, float(values.abs().max()) * 1e-3)):
        raise InputError(
            "the discriminator's score of a sample depends on the others in the batch (a minibatch statistic, or batch norm in "
            "training mode): give one that scores each sample by itself"
        )
    if bool(((values >= 0) & (values <= 1)).all() and ((other >= 0) & (other <= 1)).all()):
        warnings.warn(
            "the discriminator gives numbers from 0 to 1 only: if these are probabilities, give the logit", stacklevel=3
        )
    return Seen(score, values, _why_no_gradient(score, generator, latents, labels, mine))


def _called(
    function: Callable[..., Any], limits: tuple[float, float] | None, samples: Tensor, labels: tuple[Tensor, ...]
) -> tuple[OwnScore, Tensor]:
    """The score with labels where it takes them, else without, and what it gives."""
    problems: list[Exception] = []
    for takes_labels in (True, False) if labels else (False,):
        score = OwnScore(function, limits, takes_labels)
        try:
            with torch.no_grad():
                return score, score(samples, *(labels if takes_labels else ()))
        except Exception as error:
            problems.append(error)
    shown = f"samples of shape {tuple(samples.shape)}" + (f" and labels of shape {(PROBED,)}" if labels else "")
    raise InputError(f"the discriminator fails on {shown}: {said(problems[0])}") from None


def _why_no_gradient(
    score: OwnScore, generator: nn.Module, latents: Tensor, labels: tuple[Tensor, ...], mine: tuple[Tensor, ...]
) -> str:
    """Empty where the score has a gradient to the latent; else the reason."""
    try:
        with torch.enable_grad():
            position = latents.clone().requires_grad_()
            samples = generator(position, *labels)
            if not samples.requires_grad:
                return "the generator is not differentiable"
            values = score(samples, *mine)
            if not values.requires_grad:
                return "the score is not differentiable"
            (grad,) = torch.autograd.grad(values.sum(), position, allow_unused=True)
    except Exception as error:
        return f"the score is not differentiable ({said(error, 80)})"
    if grad is None or not bool(grad.ne(0).any()):
        return "the score's gradient is zero"
    return ""


@torch.no_grad()
def check_fitted(path: Any, networks: dict[str, nn.Module], probe: Probe) -> None:
    """See that a fitted ratio from a file takes the generator's samples. Raises InputError."""
    samples = networks["generator"](probe.latents(), *probe.labels())
    try:
        values = networks["ratio"](samples)
    except Exception as error:
        raise InputError(f"{path} does not fit samples of shape {tuple(samples.shape[1:])}: {said(error)}") from None
    if values.shape != (PROBED,) or not values.isfinite().all():
        raise InputError(f"{path} gives no finite number for each sample")


def _ends_in_sigmoid(function: Any) -> bool:
    """Whether the last layer of a module is a sigmoid: only then what it gives is surely no logit."""
    module = module_of(function)
    layers = [] if module is None else [one for one in module.modules() if not list(one.children())]
    return bool(layers) and isinstance(layers[-1], nn.Sigmoid)


def _other_shape(generator: OwnGenerator, probe: Probe) -> str:
    """A remedy, where the generator runs on latents of the other usual shape."""
    other = (*probe.latent, 1, 1) if len(probe.latent) == 1 else (math.prod(probe.latent),)
    try:
        OwnGenerator(generator.held[0], other, None, generator.takes_labels)(probe.latents(), *probe.labels())
    except Exception:
        return ""
    return f"; it runs with latent={other if len(other) > 1 else other[0]}"


def _differ(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return one.shape != other.shape or not bool((one - other).abs().max() <= tolerance)


def said(error: Exception, most: int = 200) -> str:
    """An error of somebody else's code in one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:most]


def generator_settings(samples: Tensor, name: str) -> dict[str, Any]:
    """The `data` entry of the config: of vectors, the range in which the first two coordinates are drawn."""
    if samples.ndim == 4:
        return {"shape": list(samples.shape[1:]), "range": [-1, 1], "dataset": name}
    shown = samples[:, :2]
    low, high = float(shown.min()), float(shown.max())
    margin = 0.5 * max(high - low, 1e-6)
    return {"shape": list(samples.shape[1:]), "range": [low - margin, high + margin], "dataset": name}
