"""A GAN of digits alone against the same GAN trained beside an energy, and its digits revised: five seeds, short trainings.

    python benchmarks/joint_digits.py --data ../shared/data/mnist

Networks and game are those of the recipes `mnist-gan` and `mnist-gan-ebm`; batches are fewer, and chains shorter, than there.
Beside an energy, digits that it revised are half of what the discriminator takes for good. Each training is written to
benchmarks/results/joint-digits.json when it is done, and one that stands there is not repeated.
"""

import argparse
import itertools
import resource
import tempfile
from pathlib import Path
from typing import Any

import torch
from joint_stability import machine, trainings
from torch import Tensor

import ebm_refine
from ebm_refine.data.images import load_images
from ebm_refine.metrics.class_scores import class_report
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.metrics.report import floors_at
from ebm_refine.models import networks
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator, initialise
from ebm_refine.models.ratio_file import weights_hash
from ebm_refine.training.algorithms.contrastive_divergence import short_run_of
from ebm_refine.training.algorithms.gan import train_gan
from ebm_refine.training.algorithms.joint import JointNetworks, train_joint
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.recipes.mnist import MNIST_GAN_EBM

FILE = Path(__file__).parent / "results" / "joint-digits.json"
SEEDS, STEPS, IMAGES = (0, 1, 2, 3, 4), 600, 1000
RECIPE = MNIST_GAN_EBM.cpu
# Half the recipe's K, so that a training takes about as long as one of the plane.
CHAINS = RECIPE.chains._replace(chain_steps=10, bf16_chains=True)
# Steps by which digits are revised: those of training, and six times as many.
REVISED_BY = (10, 60)
# What a failed training is, fixed before the first one ran: a class that a smaller share of images belongs to, or a distance of
# more than twice the 8.5 (from held-out digits) of a trial: the GAN alone, 800 batches, with a seed that is none of the five.
FAILED_DISTANCE, FAILED_SHARE = 17.0, 0.01


def trained(train: Tensor, seed: int, family: str) -> dict[str, Any]:
    """Train on digits (N, 1, 28, 28) uint8 and measure the averaged generator and, with an energy, its digits revised."""
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    torch.manual_seed(seed)
    nets = JointNetworks(
        DCGANGenerator(**RECIPE.generator[1]), DCGANDiscriminator(**RECIPE.discriminator[1]), networks.build(*RECIPE.energy)
    )
    initialise(nets.generator)
    initialise(nets.discriminator)
    game = RECIPE.algorithm._replace(steps=STEPS, measure_every=STEPS)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), resume=False)
        # The state at the end counts, so nothing is measured on the way.
        if family == "gan":
            last = train_gan(nets.generator, nets.discriminator, game, train, run, seed, "cpu", lambda _: 0.0)
        else:
            last = train_joint(nets, game, CHAINS, train, run, seed, "cpu", lambda _: 0.0)
    seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime - began
    nets.generator.load_state_dict(last["generator"])
    for network in nets:
        network.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)
    parts = {"generator": (RECIPE.generator, nets.generator), "energy": (RECIPE.energy, nets.energy)}
    config: dict[str, Any] = {
        "kind": "joint",
        "prior": {"name": "normal", "dim": RECIPE.generator[1]["latent"]},
        "data": {"shape": RECIPE.shape, "range": [-1, 1], "dataset": RECIPE.dataset},
        "defaults": {"method": "short-run", "short-run": short_run_of(CHAINS, CHAINS.chain_steps)},
        "parts": {
            role: {"architecture": architecture, "arguments": arguments, "sha256": weights_hash(network)}
            for role, ((architecture, arguments), network) in parts.items()
        },
    }
    checkpoint = Checkpoint(family, Path(), config, {role: network for role, (_, network) in parts.items()})
    # The GAN alone has no energy: of its run only the images before a step are measured.
    lengths = REVISED_BY if family == "gan-ebm" else (1,)
    runs = {steps: ebm_refine.refine(checkpoint, n_steps=steps, num_images=IMAGES, seed=seed) for steps in lengths}
    made = {"0": runs[lengths[0]].before}
    if family == "gan-ebm":
        made |= {str(steps): run.after for steps, run in runs.items()}
    measured = {steps: measure(images) for steps, images in made.items()}
    return {"seed": seed, "family": family, "cpu_seconds": round(seconds), "by": measured}


def measure(images: Tensor) -> dict[str, Any]:
    """Distance from test digits and classes of images (N, 1, 28, 28) uint8, and whether a training that gives them failed."""
    extractor = features_for(RECIPE.dataset)
    distance = frechet_distance(extractor(images), extractor.references["test"])
    report = class_report(images, extractor)
    rarest = min(report["histogram"]) / len(images)
    return {
        "frechet_distance": distance,
        "classes": sum(count >= FAILED_SHARE * len(images) for count in report["histogram"]),
        "rarest": rarest,
        "mean_confidence": report["mean_confidence"],
        "failed": not distance <= FAILED_DISTANCE or rarest < FAILED_SHARE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder of parquet files, or a Hub data set")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    extractor = features_for(RECIPE.dataset)
    shared = {
        "command": "python benchmarks/joint_digits.py --data ../shared/data/mnist",
        "num_images": IMAGES,
        "seeds": list(SEEDS),
        "steps": STEPS,
        "batch_size": RECIPE.algorithm.batch_size,
        "chains": CHAINS._asdict(),
        "failed_distance": FAILED_DISTANCE,
        "failed_share": FAILED_SHARE,
        "device": machine(),
        **extractor.describe(),
        "floors": floors_at(extractor, IMAGES),
    }
    train = load_images(RECIPE.dataset, chosen.data, "train").pixels
    which = itertools.product(SEEDS, ("gan", "gan-ebm"))
    trainings(FILE, shared, which, ("seed", "family"), lambda one: trained(train, *one))


if __name__ == "__main__":
    main()
