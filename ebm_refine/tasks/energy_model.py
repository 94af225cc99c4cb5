"""Questions to a loaded energy: from a checkpoint, an image and settings to chains that can be watched, or to one answer.

The formulas are in `ebm_refine.tasks`; here they meet a model, its device and its random numbers. Energies of one model say
nothing about those of another: every law has its own Z, which nobody knows.
"""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ebm_refine.energies.targets import EnergyTarget, target_of
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points, law_of
from ebm_refine.parameters import shorten
from ebm_refine.pipeline import Law, SampledLaw, run_target
from ebm_refine.result import Frame
from ebm_refine.settings import Settings, resolve
from ebm_refine.tasks import classification as labels
from ebm_refine.tasks import ood_detection as detection
from ebm_refine.tasks import ranking as comparing
from ebm_refine.tasks import row_decoding
from ebm_refine.tasks import synthetic_digits as patterns
from ebm_refine.tasks.conditional import Completion, Denoising, add_noise
from ebm_refine.tasks.reflection import Reflected
from ebm_refine.utils import cancellation
from ebm_refine.utils.devices import dtype_for

# The recipe's own sampler is far colder than exp(-E); the other two sample exp(-E) itself, confined to the range of the data.
SAMPLERS = {
    "short-run": "Short run, as in training",
    "langevin": "Langevin at temperature 1",
    "mala": "Adjusted Langevin at temperature 1",
}
DRAWN_REFERENCE = 200
# Rows of so few digits are also checked by looking at every one: 10^5 of them.
ENUMERATED = 5


class Chains(NamedTuple):
    """The end of a run of N chains, on the CPU.

    `before`, `after` (N, 1, H, W) uint8 with their energies E(x) (N,); `film` (F, K <= 64, 1, H, W) uint8 at `steps`; `trace`
    (F, N) the energy of the law that was sampled, which may hold more than E(x), at those steps.
    """

    settings: Settings
    before: Tensor
    after: Tensor
    energy_before: Tensor
    energy_after: Tensor
    film: Tensor
    steps: list[int]
    trace: Tensor
    diagnostics: dict[str, Any]


class Detection(NamedTuple):
    """Where an image's `energy` lies: `share_above` of the reference's digits have at least as high a one.

    `energies` (N,) by set and `aurocs` of digits against every other set; `measured_on` says what the digits are.
    """

    energy: float
    share_above: float
    energies: dict[str, Tensor]
    aurocs: dict[str, float]
    measured_on: str


class Ranking(NamedTuple):
    """Candidates by `energies` (N,): `order` (N,) most probable first, `log_ratios` (N,) of each to the first candidate."""

    energies: Tensor
    order: Tensor
    log_ratios: Tensor


class Classification(NamedTuple):
    """E(x, y) (N, Y), the label of least energy (N,), and log p(y | x) (N, Y) at the given beta."""

    energies: Tensor
    labels: Tensor
    log_probabilities: Tensor


class Row(NamedTuple):
    """A row of K digits: each read `alone`, and `together` under the rule; each with the energy of the whole row.

    `energy_enumerated` is the least energy of all `rows`, enumerated as a check on min-sum; None for rows too long.
    """

    alone: Tensor
    together: Tensor
    energy_alone: float
    energy_together: float
    energy_enumerated: float | None
    rows: int


class EnergyModel:
    """A checkpoint's energy of grey square images, on a device. `classes` is 0 where it knows no labels."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", precision: str = "fp32"):
        """`device` and `precision` as of `refine`. Raises InputError for a model of another sort."""
        if not can_answer(checkpoint.config):
            raise InputError(f"model {checkpoint.name!r} has no energy of grey square images, so it cannot be asked")
        self.checkpoint, self.device = checkpoint, device
        target = target_of(checkpoint, device=device, dtype=dtype_for(precision, device))
        assert isinstance(target, EnergyTarget)
        self.target = target
        self.classes = classes_of(checkpoint.config)
        self.size = target.shape[-1]

    def energy(self, images: Tensor) -> Tensor:
        """E(x) (N,) float32, on the CPU, of images (N, 1, H, W) in the range of the data."""
        return self.target.energy(images.to(self.device)).cpu()

    @torch.no_grad()
    def label_energies(self, images: Tensor) -> Tensor:
        """E(x, y) (N, classes) float32, on the CPU. Raises InputError for a model without labels."""
        network: Any = self._labelled()
        found = []
        for part in images.to(self.device).split(self.target.chunk):
            cancellation.check()
            # The network always sees one width, as in `targets`, so that no answer depends on the other images.
            padded = torch.cat([part, part.new_zeros(self.target.chunk - len(part), *part.shape[1:])])
            found.append(labels.energies_of(network.logits(padded))[: len(part)].cpu())
        return torch.cat(found)

    def law(self, label: int | None = None) -> EnergyTarget:
        """E(x), or E(x, label) as an energy of x: its law is p(x | label)."""
        if label is None:
            return self.target
        network = self._labelled()
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < self.classes:
            raise InputError(f"label must be a whole number from 0 to {self.classes - 1}; got {shorten(label)}")
        target, given = self.target, _GivenLabel(network, label)
        return EnergyTarget(given, target.shape, target.bounds, target.generator, target.dim, device=self.device)

    def _labelled(self) -> nn.Module:
        if not self.classes:
            raise InputError(f"model {self.checkpoint.name!r} has no labels: this question needs an energy E(x, y)")
        return self.target.network


def can_answer(config: dict[str, Any]) -> bool:
    """Whether a model with this config has an energy of grey square images."""
    shape = config["data"]["shape"]
    return law_of(config) in ("energy", "joint") and not is_points(config) and shape == [1, shape[-1], shape[-1]]


def classes_of(config: dict[str, Any]) -> int:
    """How many labels a model's energy knows, 0 for none."""
    return int(config["parts"]["energy"]["arguments"].get("classes") or 0)


def chain_settings(model: str, config: dict[str, Any], sampler: Any, **arguments: Any) -> Settings:
    """The checked settings of a run with one of `SAMPLERS`; `arguments` as those of `settings.resolve`.

    Its temperature is 1 for all but the recipe's sampler, unless another is given.
    """
    if not isinstance(sampler, str) or sampler not in SAMPLERS:
        raise InputError(f"sampler must be one of {', '.join(SAMPLERS)}; got {shorten(sampler)}")
    if sampler != "short-run" and arguments.get("temperature") is None:
        arguments["temperature"] = 1.0
    return resolve(model, config, method=sampler, **arguments)


# --- Questions that chains answer ------------------------------------------------------------------------------------------


def sample(model: EnergyModel, settings: Settings, label: int | None = None) -> Generator[Frame | Chains, None, None]:
    """Chains from the model's own start, noise or its generator's samples, under p(x), or under p(x | label)."""
    return _chains(model, model.law(label), settings, lambda position: position)


def complete(model: EnergyModel, image: Tensor, missing: Tensor, settings: Settings) -> Generator[Frame | Chains, None, None]:
    """Chains over the pixels of `image` (1, H, W) that are `missing` (1, H, W) bool, the others held."""
    law = Completion(model.target, image.to(model.device), missing.to(model.device))
    return _chains(model, law, settings, law.whole)


def denoise(model: EnergyModel, noisy: Tensor, sigma: float, settings: Settings) -> Generator[Frame | Chains, None, None]:
    """Chains over clean images given one (1, H, W) with Gaussian noise of width `sigma`, from which they begin."""
    law = Denoising(model.target, noisy.to(model.device), sigma, settings.values["temperature"])
    return _chains(model, law, settings, lambda position: position)


def noisy(model: EnergyModel, image: Tensor, sigma: float, seed: int) -> Tensor:
    """`image` (1, H, W) with Gaussian noise of width `sigma`, within the range of the data."""
    return add_noise(image, sigma, seed, model.target.bounds)


def _chains(
    model: EnergyModel, energy: Law, settings: Settings, images_of: Callable[[Tensor], Tensor]
) -> Generator[Frame | Chains, None, None]:
    """Run one of `SAMPLERS`; `images_of` makes images of positions. The short run clamps, the others are reflected.

    The positions of the frames are whole images (K <= 64, 1, H, W) in the range of the data.
    """
    law = energy if settings.method == "short-run" else Reflected(energy)

    def images(position: Tensor) -> Tensor:
        return images_of(law.fold(position) if isinstance(law, Reflected) else position)

    end: Any = None
    for end in run_target(law, settings):
        if isinstance(end, Frame):
            on_device = end.positions.to(model.device)
            yield end._replace(positions=images(on_device).cpu(), proposals=None, taken=None)
    assert isinstance(end, SampledLaw)
    before, after = images(end.start), images(end.position)
    film = [model.target.decode(images(frame.positions.to(model.device))) for frame in end.frames]
    yield Chains(
        settings=settings,
        before=model.target.decode(before),
        after=model.target.decode(after),
        energy_before=model.energy(before),
        energy_after=model.energy(after),
        film=torch.stack(film),
        steps=[frame.step for frame in end.frames],
        trace=end.trace,
        diagnostics=end.diagnostics,
    )


class _GivenLabel(nn.Module):
    """E(x, y) of one label y, as an energy of x alone."""

    def __init__(self, network: nn.Module, label: int):
        super().__init__()
        self.network, self.label = network, label

    def forward(self, images: Tensor) -> Tensor:
        network: Any = self.network
        return labels.energies_of(network.logits(images))[:, self.label]


# --- Questions that energies answer ----------------------------------------------------------------------------------------


def detect(model: EnergyModel, image: Tensor) -> Detection:
    """Whether an image (1, H, W) is as probable as digits are, next to what is none."""
    energy = float(model.energy(image[None]))
    energies = model.checkpoint.tables.get(detection.REFERENCE)
    if energies is None:
        drawn = patterns.written([number % 10 for number in range(DRAWN_REFERENCE)], model.size)
        energies, measured_on = detection.energies_of_sets(model.energy, drawn), f"{len(drawn)} digits drawn in code"
    else:
        measured_on = f"{len(energies[detection.DIGITS])} held-out digits"
    share = detection.share_above(energies[detection.DIGITS], energy)
    return Detection(energy, share, energies, detection.aurocs(energies), measured_on)


def variants(image: Tensor, seed: int) -> dict[str, Tensor]:
    """An image (1, H, W) and altered versions of it, by name."""
    made = {name: make(image[None], seed)[0] for name, make in detection.OTHERS.items()}
    return {"the digit itself": image, **made}


def rank(model: EnergyModel, images: Tensor) -> Ranking:
    """Candidates (N, 1, H, W) by their density; the ratios need no Z."""
    energies = model.energy(images)
    return Ranking(energies, comparing.ranked(energies), comparing.log_density_ratio(energies, energies[0]))


def classify(model: EnergyModel, images: Tensor, beta: float) -> Classification:
    """The label of least energy of each image (N, 1, H, W), and p(y | x) proportional to exp(-beta E(x, y))."""
    energies = model.label_energies(images)
    return Classification(energies, labels.decide(energies), labels.conditional_log_probability(energies, beta))


def read(model: EnergyModel, images: Tensor, rule: str, weight: float) -> Row:
    """The row of labels of least energy for images (K, 1, H, W), neighbours paying `weight` where they break the rule."""
    if rule not in row_decoding.RULES:
        raise InputError(f"rule must be one of {', '.join(row_decoding.RULES)}; got {shorten(rule)}")
    unary, pairwise = model.label_energies(images), row_decoding.pairwise_energy(rule, weight, model.classes)
    alone, together = labels.decide(unary), row_decoding.min_sum(unary, pairwise)
    enumerated = row_decoding.by_enumeration(unary, pairwise).energy if len(images) <= ENUMERATED else None
    energy_alone = row_decoding.energy_of(alone, unary, pairwise)
    return Row(alone, together.labels, energy_alone, together.energy, enumerated, model.classes ** len(images))
