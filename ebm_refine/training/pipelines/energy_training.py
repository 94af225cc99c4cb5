"""From an energy recipe to a finished checkpoint: train, watch, choose a state by holdout distance, tell its story, save."""

import copy
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.utils import save_image

from ebm_refine.data.images import load_images, to_unit
from ebm_refine.metrics.class_scores import class_report
from ebm_refine.metrics.distances import frechet_distance, kernel_distance, paired_difference
from ebm_refine.metrics.features import FeatureExtractor, features_for
from ebm_refine.models import networks
from ebm_refine.models.checkpoint import Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.tasks.ood_detection import REFERENCE, REFERENCE_DIGITS, energies_of_sets
from ebm_refine.training.algorithms.classifier import accuracy, labelled
from ebm_refine.training.algorithms.contrastive_divergence import (
    EnergyRecipe,
    ends_by_length,
    run_chains,
    short_run_of,
    source_of,
    train_energy,
    uniform,
)
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.common.resumable import Run
from ebm_refine.utils.atomic_io import replacing

UNSEEN = 1000
MEASURED = 1000
# So many of the measured chains go on to so many times their length: where the energy is a density, they get no worse.
LONG_CHAINS, LONG_TIMES = 200, 4
# The story of a training run: some chains from noise, shown at some points of a long walk, at some epochs.
STORY_CHAINS, STORY_POINTS, STORY_STEPS, STORY_EPOCHS = 8, 8, 256, 4


class ImageEnergy(NamedTuple):
    """An energy of images; every `measure_every` epochs its chains of `draw_steps` from noise are measured and drawn.

    `falls_to`: over the run, however long, the rate falls to this share of its start; None: by the algorithm's own `decay`.
    `with_labels`: the network also learns the labels.
    """

    name: str
    title: str
    dataset: str
    shape: list[int]
    architecture: str
    arguments: dict[str, Any]
    algorithm: EnergyRecipe
    falls_to: float | None
    measure_every: int
    draw_steps: int
    with_labels: bool = False
    notes: tuple[str, ...] = ()

    def of_length(self, epochs: int | None) -> EnergyRecipe:
        """The algorithm's parameters for so many epochs, or for its own number."""
        algorithm = self.algorithm if epochs is None else self.algorithm._replace(epochs=epochs)
        return algorithm if self.falls_to is None else algorithm._replace(decay=self.falls_to ** (1 / algorithm.epochs))


def energy_model(job: Job, recipe: ImageEnergy) -> None:
    """Train an energy and write its checkpoint to `job.folder`; the state of the lowest holdout distance ships."""
    name, dataset, shape = recipe.name, recipe.dataset, recipe.shape
    algorithm = recipe.of_length(job.steps)
    extractor = features_for(dataset)
    train_set, holdout = (load_images(dataset, job.data, split) for split in ("train", "holdout"))
    labels = labelled(train_set) if recipe.with_labels else None
    torch.manual_seed(job.seed)
    network = networks.build(recipe.architecture, recipe.arguments)
    longer = algorithm._replace(chain_steps=recipe.draw_steps, bf16_chains=False)
    shown = copy.deepcopy(network).to(job.device)
    per_epoch = len(train_set.pixels) // algorithm.batch_size
    stopped = ""
    steps = train_energy(
        network, algorithm, train_set.pixels, holdout.pixels[:UNSEEN], job.seed, job.device, labels, job.run,
        best={"distance": float("inf")},
    )  # fmt: skip
    for progress in steps:
        if stopped := progress.stopped:
            print(f"{name}: {stopped}")
            job.run.log(step=progress.step, stopped=stopped)
            break
        job.run.log(step=progress.step, **progress.numbers)
        before = progress.step - algorithm.report_every
        epochs = progress.step // per_epoch
        if epochs // recipe.measure_every > before // per_epoch // recipe.measure_every or progress.step == progress.steps:
            weights = progress.state.get("average", progress.state["network"])
            shown.load_state_dict(weights)
            measured = measured_chains(shown, longer, extractor, tuple(shape), job)
            job.run.log(step=progress.step, epoch=epochs, **measured)
            save_story(shown, longer, tuple(shape), job, epochs)
            distance = measured["holdout_distance"]
            if not distance >= steps.extra["best"]["distance"]:
                steps.extra["best"] = {"network": weights, "distance": distance, "epoch": epochs}
    best = steps.extra["best"]
    if "network" in best:
        network.load_state_dict(best["network"])
    lengths = distances_by_length(network, longer, extractor, tuple(shape), job)
    drawn = min(lengths, key=lambda n_steps: lengths[n_steps])
    job.run.log(phase="lengths", **{f"{n_steps} steps": distance for n_steps, distance in lengths.items()})
    network.to("cpu").eval().requires_grad_(False)
    config = {
        "kind": "energy",
        "title": recipe.title,
        "data": {"shape": shape, "range": [-1, 1], "dataset": dataset},
        "defaults": {"method": "short-run", "short-run": short_run_of(algorithm, drawn)},
        "holdout_distance": {"value": lengths[drawn], "num_images": MEASURED, **extractor.describe()},
        "training": {
            **record(name, job, best.get("epoch", 0), "epochs", train_set.pixels),
            "epochs_run": algorithm.epochs,
            "settings": dict(algorithm._asdict()),
            **({"stopped": stopped} if stopped else {}),
        },
        "notes": [cold_note(algorithm), length_note(lengths), *recipe.notes],
    }
    if recipe.with_labels:
        test = load_images(dataset, job.data, "test")
        config["accuracy"] = {"test_accuracy": accuracy(network, test)}
    part = {"energy": Part(recipe.architecture, recipe.arguments, network)}
    tables = {"story": story(job.run), REFERENCE: energies_of_sets(network, to_unit(holdout.pixels[:REFERENCE_DIGITS]))}
    save_checkpoint(job.folder, config, part, model_card({**config, "name": name}), tables)


def cold_note(recipe: EnergyRecipe) -> str:
    """What must be said of a short-run sampler: how cold it is."""
    return (
        f"The short-run sampler is the recipe's own and far colder than exp(-E): its noise is that of temperature "
        f"{recipe.temperature:g} and its gradient is clipped at {recipe.clip:g}, so its images are no samples of that density. "
        "A long Langevin chain at temperature 1 is one, up to its step's bias; the two look different."
    )


def length_note(lengths: dict[int, float]) -> str:
    """What the card says of the default number of steps."""
    steps, distances = (", ".join(texts) for texts in zip(*((f"{n:,}", f"{d:.2f}") for n, d in lengths.items()), strict=True))
    return f"Holdout distance of {MEASURED:,} chains from noise after {steps} steps: {distances}. The lowest gives the default."


def distances_by_length(
    network: nn.Module, recipe: EnergyRecipe, extractor: FeatureExtractor, shape: tuple[int, ...], job: Job
) -> dict[int, float]:
    """Holdout distance of the same chains from noise after each of LENGTHS times the recipe's number of steps."""
    source = source_of(job.seed, 0, job.device)
    start, reference = uniform((MEASURED, *shape), recipe.bounds, source), extractor.references["holdout"]
    ends = ends_by_length(network, start, recipe, source)
    return {steps: frechet_distance(extractor(pixels(chains)), reference) for steps, chains in ends}


def measured_chains(
    network: nn.Module, recipe: EnergyRecipe, extractor: FeatureExtractor, shape: tuple[int, ...], job: Job
) -> dict[str, float]:
    """Holdout distance, confidence and classes of chains from noise, never from the buffer; the same noise every time.

    And kernel distances of the first `LONG_CHAINS` of them and of these four times as long, with the error of the difference.
    """
    source = source_of(job.seed, 0, job.device)
    chains = run_chains(network, uniform((MEASURED, *shape), recipe.bounds, source), recipe, source)
    images = pixels(chains)
    report = class_report(images, extractor)
    features, reference = extractor(images), extractor.references["holdout"]
    short = features[:LONG_CHAINS]
    further = recipe._replace(chain_steps=(LONG_TIMES - 1) * recipe.chain_steps)
    long = extractor(pixels(run_chains(network, chains[:LONG_CHAINS], further, source)))
    return {
        "holdout_distance": frechet_distance(features, reference),
        "mean_confidence": report["mean_confidence"],
        "classes": report["classes"],
        "largest_class_share": max(report["histogram"]) / report["num_images"],
        "short_chains_distance": kernel_distance(short, reference).value,
        "long_chains_distance": kernel_distance(long, reference).value,
        "long_chains_error": paired_difference(short, long, reference).error,
    }


def save_story(network: nn.Module, recipe: EnergyRecipe, shape: tuple[int, ...], job: Job, epoch: int) -> None:
    """Eight chains from noise at eight points of 256 steps: a row a chain, as a picture and as numbers in the run's folder."""
    source = source_of(job.seed, 0, job.device)
    part = recipe._replace(chain_steps=STORY_STEPS // (STORY_POINTS - 1))
    frames = [uniform((STORY_CHAINS, *shape), recipe.bounds, source)]
    for _ in range(STORY_POINTS - 1):
        frames.append(run_chains(network, frames[-1], part, source))
    rows = pixels(torch.stack(frames, dim=1).flatten(0, 1)).unflatten(0, (STORY_CHAINS, STORY_POINTS))
    with replacing(job.run.folder / f"story-{epoch:03d}.safetensors") as temporary:
        save_file({f"epoch-{epoch:03d}": rows}, temporary)
    with replacing(job.run.folder / f"story-{epoch:03d}.png") as temporary:
        save_image(rows.flatten(0, 1).float() / 255, temporary, format="png", nrow=STORY_POINTS)


def story(run: Run) -> dict[str, Tensor]:
    """The chains at up to four epochs, the first and the last among them: epoch -> (chains, points, C, H, W) uint8."""
    files = sorted(run.folder.glob("story-*.safetensors"))
    last = len(files) - 1
    selected = {round(k * last / (STORY_EPOCHS - 1)) for k in range(STORY_EPOCHS)} if files else set()
    return {name: rows for index in sorted(selected) for name, rows in load_file(files[index]).items()}


def pixels(positions: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8, on the CPU."""
    return positions.detach().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu()
