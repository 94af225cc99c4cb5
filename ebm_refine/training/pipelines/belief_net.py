"""From recipes of its machines to a finished deep belief network: greedy, layer by layer, then measured and saved.

Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets": the first machine learns the pixels; each next
one learns the hidden bits that the finished ones below make of the data. Grey digits become bits anew every time they are
seen, a pixel being 1 with the probability that its grey level says.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.utils import save_image

from ebm_refine.data.images import load_images
from ebm_refine.metrics.class_scores import class_report
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import FeatureExtractor, features_for
from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.rbm import DBN
from ebm_refine.training.algorithms.contrastive_divergence import source_of
from ebm_refine.training.algorithms.rbm_learning import RBMRecipe, block_gibbs, drawn, train_rbm
from ebm_refine.training.common.job import Job, record
from ebm_refine.utils.atomic_io import replacing

MEASURED = 1000
SHOWN = 100


class BeliefNet(NamedTuple):
    """A stack of machines with layers of `sizes`, from the pixels up, an algorithm each, whose `epochs` are its length.

    While the top machine learns, chains of `chain_steps` from random bits are measured every `measure_every` epochs.
    """

    name: str
    title: str
    dataset: str
    shape: list[int]
    sizes: tuple[int, ...]
    algorithms: tuple[RBMRecipe, ...]
    chain_steps: int
    measure_every: int
    notes: tuple[str, ...] = ()


def belief_net(job: Job, recipe: BeliefNet) -> None:
    """Train the machines in turn and save them at the top one's lowest holdout distance; resumable at every epoch."""
    machines = [one if job.steps is None else one._replace(epochs=job.steps) for one in recipe.algorithms]
    extractor = features_for(recipe.dataset)
    train_set, holdout = (load_images(recipe.dataset, job.data, split).pixels.flatten(1) for split in ("train", "holdout"))
    data, unseen = train_set.to(job.device), holdout.to(job.device)
    network = DBN(recipe.sizes).to(job.device).requires_grad_(False)
    best: dict[str, Any] = {"distance": float("inf")}
    for number, algorithm in enumerate(machines):
        run = job.run if number == 0 else job.run.part(f"machine-{number + 1}")
        bits, seed = _bits_below(network, number), job.seed * 100 + number
        epochs = train_rbm(network.stack[number], algorithm, data, unseen, bits, seed, run, best=best)
        for now in epochs:
            run.log(machine=number + 1, epoch=now.step, **now.numbers)
            if number == len(machines) - 1 and epochs.updates.due(now.step, recipe.measure_every):
                measured = measured_chains(network, extractor, recipe.chain_steps, recipe.shape, job)
                run.log(machine=number + 1, epoch=now.step, **measured)
                if measured["holdout_distance"] < epochs.extra["best"]["distance"]:
                    weights = copy.deepcopy(network.state_dict())  # its own tensors are trained on
                    epochs.extra["best"] = {"distance": measured["holdout_distance"], "epoch": now.step, "network": weights}
        best = epochs.extra["best"]
    if "network" in best:
        network.load_state_dict(best["network"])
    _save(job, network.cpu().eval(), holdout, extractor, {
        "kind": "dbn",
        "title": recipe.title,
        "data": {"shape": recipe.shape, "range": [-1, 1], "dataset": recipe.dataset},
        "defaults": {"method": "gibbs", "gibbs": {"n_steps": recipe.chain_steps}},
        "holdout_distance": {"value": best["distance"], "num_images": MEASURED, **extractor.describe()},
        "training": {
            **record(recipe.name, job, best.get("epoch", 0), "epochs of the top machine", train_set.unflatten(1, recipe.shape)),
            "recipes": [", ".join(f"{key} {value}" for key, value in one._asdict().items()) for one in machines],
        },
        "notes": list(recipe.notes),
    })  # fmt: skip


@torch.no_grad()
def bits_of(network: DBN, pixels: Tensor, number: int, source: torch.Generator) -> Tensor:
    """The visible bits (B, sizes[number]) that machine `number` sees of grey pixels (B, P) uint8: drawn layer by layer."""
    bits = drawn(pixels.float() / 255, source)
    for machine in network.stack[:number]:
        bits = drawn(machine.hidden_mean(bits), source)
    return bits


@torch.no_grad()
def long_chains(network: DBN, count: int, steps: int, source: torch.Generator) -> Tensor:
    """Pixels (count, P) uint8, on the CPU, below the top machine after `steps` from random bits."""
    device = network.top.weight.device
    coin = torch.full((count, network.top.visible), 0.5, device=device)
    ends = block_gibbs(network.top, drawn(coin, source), steps, source)
    return network.down(ends).mul(255).round().to(torch.uint8).cpu()


def measured_chains(network: DBN, extractor: FeatureExtractor, steps: int, shape: Sequence[int], job: Job) -> dict[str, float]:
    """Holdout distance, confidence and classes of chains from the coin; the same tosses every time, and a picture."""
    images = long_chains(network, MEASURED, steps, source_of(job.seed, 0, job.device)).unflatten(1, tuple(shape))
    with replacing(job.run.folder / "chains.png") as temporary:
        save_image(images[:SHOWN].float() / 255, temporary, format="png", nrow=10)
    report = class_report(images, extractor)
    distance = frechet_distance(extractor(images), extractor.references["holdout"])
    return {"holdout_distance": distance, "mean_confidence": report["mean_confidence"], "classes": report["classes"]}


def _bits_below(network: DBN, number: int) -> Any:
    return lambda pixels, source: bits_of(network, pixels, number, source)


def _save(job: Job, network: DBN, holdout: Tensor, extractor: FeatureExtractor, config: dict[str, Any]) -> None:
    """Save, read back, and write down what half precision changed."""
    sizes = [network.pixels, *(machine.hidden for machine in network.stack)]
    parts = {"energy": Part("dbn", {"sizes": sizes}, network)}
    save_checkpoint(job.folder, config, parts, "")
    stored: Any = load_checkpoint(job.folder).networks["energy"]
    bits = bits_of(network, holdout, len(network.stack) - 1, source_of(job.seed, 0, "cpu"))
    change = (stored(bits) - network(bits)).double()
    short, steps = tuple(config["data"]["shape"]), config["defaults"]["gibbs"]["n_steps"]
    again = long_chains(stored, MEASURED, steps, source_of(job.seed, 0, "cpu")).unflatten(1, short)
    config["training"]["half_precision"] = {
        "mean change of the free energy, nats": float(change.mean()),
        "sd": float(change.std()),
        "holdout distance as stored": frechet_distance(extractor(again), extractor.references["holdout"]),
    }
    save_checkpoint(job.folder, config, parts, model_card({**config, "name": job.folder.name}))
