"""Scores of a pair on held-out and on newly generated images: calibrations, reports, and stored ratios of real images."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ebm_refine.data.images import to_unit
from ebm_refine.energies.density_ratio import (
    available_ratios,
    fit_calibration,
    fit_isotonic,
    of_scores,
    ratio_report,
    raw_slope,
)
from ebm_refine.models.networks.dcgan import DCGANGenerator

# MH-GAN starts from the ratio of a real image; so many lie with each model.
STORED_RATIOS = 1000
BATCH = 500


class Halves(NamedTuple):
    """Scores (N,) of real and of fake images. The first half of the holdout fits what is fitted, the other one reports."""

    on_real: Tensor
    on_fake: Tensor

    @property
    def fitting(self) -> "Halves":
        half = len(self.on_real) // 2
        return Halves(self.on_real[:half], self.on_fake[:half])

    @property
    def reporting(self) -> "Halves":
        half = len(self.on_real) // 2
        return Halves(self.on_real[half:], self.on_fake[half:])


class Labels(NamedTuple):
    """The labels (N,) int64 of real and of fake images, for networks that see them; None for others."""

    of_real: Tensor | None = None
    of_fake: Tensor | None = None


UNLABELLED = Labels()


def ratio_entries(
    networks: dict[str, nn.Module], config: dict[str, Any], holdout: Tensor, fakes: Tensor, labels: Labels = UNLABELLED
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config entries of a pair's ratios, and the table of their values on up to 1,000 held-out real images.

    networks: "discriminator" and, where there is one, the refitted "ratio". config: what is known of the pair; a `calibration`
    or `isotonic` in it is used, a missing one is fitted. holdout, fakes (N, C, H, W) uint8, with their `labels`. The
    entries are these two and `ratio_report`; reports and stored ratios are of the half of the images to which nothing was
    fitted. The table holds r (R,) float32 by name of the ratio.
    """
    scores = {
        role: Halves(scores_of(network, holdout, labels=labels.of_real), scores_of(network, fakes, labels=labels.of_fake))
        for role, network in networks.items()
    }
    scale = raw_slope(config)
    raw = Halves(*(scale * half for half in scores["discriminator"].fitting))
    fitted = {
        "calibration": config.get("calibration") or fit_calibration(*raw),
        "isotonic": config.get("isotonic") or fit_isotonic(*raw),
    }
    known = {**config, **fitted, "parts": networks}
    reports, stored = {}, {}
    for name in available_ratios(known):
        role, ratio = of_scores(known, name)
        on_real, on_fake = (ratio(half) for half in scores[role].reporting)
        reports[name] = ratio_report(on_real, on_fake)
        stored[name] = on_real[:STORED_RATIOS].contiguous()
    return {**fitted, "ratio_report": reports}, stored


def calibrate_last_layer(network: nn.Module, last: nn.Linear | nn.Conv2d, scores: Halves) -> dict[str, float]:
    """Logistic calibration written into the layer that gives r, so that the network's output is calibrated; returns it.

    scores: the network's own, of the half that fits.
    """
    calibration = fit_calibration(*scores)
    with torch.no_grad():
        last.weight.mul_(calibration["slope"])
        assert last.bias is not None
        last.bias.mul_(calibration["slope"]).add_(calibration["intercept"])
    return calibration


@torch.no_grad()
def generated(generator: DCGANGenerator, count: int, seed: int, device: str = "cpu") -> Tensor:
    """Samples (count, C, H, W) uint8, on the CPU, of latents that depend on the seed alone."""
    source = torch.Generator().manual_seed(seed + 10_000)
    parts = []
    for size in [BATCH] * (count // BATCH) + ([count % BATCH] if count % BATCH else []):
        images = generator(torch.randn(size, generator.latent, generator=source).to(device)).float().cpu()
        parts.append(images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


@torch.no_grad()
def scores_of(network: nn.Module, pixels: Tensor, device: str = "cpu", labels: Tensor | None = None) -> Tensor:
    """What the network gives for images (N, C, H, W) uint8: (N,) float32, on the CPU.

    labels (N,) int64 go to a network that takes them; another is not shown them.
    """
    seen = labels is not None and getattr(network, "takes_labels", False)
    parts = []
    for start in range(0, len(pixels), BATCH):
        also = [labels[start : start + BATCH].to(device)] if seen and labels is not None else []
        parts.append(network(to_unit(pixels[start : start + BATCH]).to(device), *also).float().cpu())
    return torch.cat(parts)


def score_summary(network: nn.Module, pixels: Tensor, labels: Tensor | None = None) -> dict[str, float | int]:
    """Mean and standard deviation of what the network gives for `pixels` (N, C, H, W) uint8 with `labels`, and N."""
    scores = scores_of(network, pixels, labels=labels)
    return {"mean": float(scores.mean()), "sd": float(scores.std()), "images": len(pixels)}
