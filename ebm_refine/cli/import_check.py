"""Real images check a pair that is being imported: with which options its generator's samples are nearest to them, and
whether its discriminator ranks them above those samples. Asked before anything is written.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.data.images import Images, to_unit
from ebm_refine.data.real_images import real_images
from ebm_refine.energies.density_ratio import RAW_SLOPES, fit_calibration
from ebm_refine.energies.priors import of_normal
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.own_evaluator import coarse, reference_of
from ebm_refine.models.convert.convert import read_pair
from ebm_refine.models.convert.families import Converted
from ebm_refine.models.convert.import_options import ImportOptions, alternatives
from ebm_refine.models.networks.energy_cnn import EnergyCNN

IMAGES, BATCH = 1000, 100
# Other options are named where they bring the samples so much nearer.
NEARER = 0.85
TURNED = {"logit": "inverted", "inverted": "logit", "critic": "energy", "energy": "critic"}


def compare_options(pair: Converted, data: Any, image_size: int | None) -> list[str]:
    """Sentences on the options that were used, from real images `data` (`data.real_images`).

    Raises CheckpointError where the discriminator, as it is read, prefers generated images to real ones, and InputError where
    the images do not fit the pair's.
    """
    given = real_images(data, pair.shape, limit=IMAGES)
    real = given.pixels
    taken = _distance(pair, real)
    said = [f"generated images are at {taken:.3g} from the real ones (Fréchet distance of 8x8 pixels)"]
    others = {}
    for option, options in alternatives(pair.options, pair.family, bool(pair.classes)).items():
        others[option] = _distance(_read(pair, options, image_size), real)
    best = min(others, key=others.__getitem__)
    if others[best] < NEARER * taken:
        said.append(f"with {best} they would be at {others[best]:.3g}: look at both, and import again with the right one")
    said.append(_signs(pair, given))
    return said


def _signs(pair: Converted, given: Images) -> str:
    real, score, scale = given.pixels, pair.parts["discriminator"].network, RAW_SLOPES[pair.options.output]
    takes_labels = getattr(score, "takes_labels", False)
    if takes_labels and given.labels is None:
        return "the discriminator takes labels and --data has none, so its sign was not checked"
    fake, labels = generated(pair, len(real)), labels_for(pair, len(real))
    if takes_labels and int(given.labels.max()) >= pair.classes:  # type: ignore[union-attr]
        raise InputError(f"--data has a label {int(given.labels.max())}, the pair has classes 0 to {pair.classes - 1}")  # type: ignore[union-attr]
    on_real, on_fake = (
        scale * _scores(score, side, of if takes_labels else None) for side, of in ((real, given.labels), (fake, labels))
    )
    calibration = fit_calibration(on_real, on_fake)
    ranked = float((on_real[:, None] > on_fake[None]).double().mean())
    if calibration["slope"] < 0 and ranked < 0.5:
        raise CheckpointError(
            f"{pair.files['discriminator']}, read as {pair.options.output}, prefers generated images to real ones (calibration "
            f"slope {calibration['slope']:.2f}): its sign is turned, or it is read wrongly; import it with --output "
            f"{TURNED[pair.options.output]}, or see --d-activation"
        )
    said = (
        f"the discriminator ranks a real image above a generated one in {ranked:.0%} of pairs (calibration slope "
        f"{calibration['slope']:.2f})"
    )
    if pair.family == "residual":
        return said
    return f"{said}; --d-activation {'relu' if pair.options.d_activation == 'leaky' else 'leaky'} would change it"


def _read(pair: Converted, options: ImportOptions, image_size: int | None) -> Converted:
    return read_pair(pair.files["generator"], pair.files["discriminator"], image_size, options)


@torch.no_grad()
def generated(pair: Converted, count: int) -> Tensor:
    """Samples (count, C, H, W) uint8 of the pair's generator."""
    generator: nn.Module = of_normal(pair.parts["generator"].network, {"name": pair.options.prior})
    source = torch.Generator().manual_seed(0)
    labels = labels_for(pair, count)
    made, done = [], 0
    for size in _sizes(count):
        of = () if labels is None else (labels[done : done + size],)
        made.append(generator(torch.randn(size, pair.latent, generator=source), *of))
        done += size
    return torch.cat(made).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def labels_for(pair: Converted, count: int) -> Tensor | None:
    """Labels (count,) of the samples that `generated` makes, each class as often; None for a pair without."""
    return torch.arange(count) % pair.classes if pair.classes else None


def _sizes(count: int) -> list[int]:
    return [BATCH] * (count // BATCH) + ([count % BATCH] if count % BATCH else [])


@torch.no_grad()
def _scores(network: nn.Module, pixels: Tensor, labels: Tensor | None = None) -> Tensor:
    given = (
        [(part,) for part in pixels.split(BATCH)]
        if labels is None
        else zip(pixels.split(BATCH), labels.split(BATCH), strict=True)
    )
    return torch.cat([network(to_unit(part), *of) for part, *of in given])


def _distance(pair: Converted, real: Tensor) -> float:
    return frechet_distance(coarse(generated(pair, IMAGES)), reference_of(coarse(real)))


@torch.no_grad()
def check_energy(checkpoint: Any, data: Any, output: str) -> str:
    """A sentence on an energy's sign. Raises CheckpointError where real images are less likely than noise."""
    network: EnergyCNN = checkpoint.networks["energy"]
    real = real_images(data, checkpoint.config["data"]["shape"], limit=IMAGES).pixels
    noise = torch.rand(len(real), *real.shape[1:], generator=torch.Generator().manual_seed(0)) * 2 - 1
    on_real = float(_scores(network, real).mean())
    on_noise = float(torch.cat([network(part) for part in noise.split(BATCH)]).mean())
    said = f"mean energy {on_real:.3g} over real images, {on_noise:.3g} over noise"
    if on_real > on_noise:
        other = "energy" if output == "minus-energy" else "minus-energy"
        raise CheckpointError(f"{said}: real images are less likely than noise, so the sign is turned; give --output {other}")
    return said
