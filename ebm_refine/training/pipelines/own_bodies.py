"""What looks at samples of one's own when a ratio is fitted to them: chosen by their size and by whether they have labels."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ebm_refine.data.images import Images
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Part
from ebm_refine.models.networks import build
from ebm_refine.models.networks.own_ratio import VectorRatio
from ebm_refine.training.algorithms.classifier import ClassifierRecipe, train_classifier
from ebm_refine.training.algorithms.feature_ratio import BODY_SEED, HeadRecipe, on_frozen_body, rows_of, train_head
from ebm_refine.training.algorithms.ratio_learning import RatioRecipe, Sides, train_ratio
from ebm_refine.training.algorithms.simclr import ContrastiveRecipe, train_encoder
from ebm_refine.training.algorithms.vector_ratio import VectorRecipe, train_vector_ratio
from ebm_refine.training.common.resumable import Run, to_device

BODIES = {
    "classifier": "a head on the features of a classifier of the labels",
    "contrastive": "a head on features learned without labels",
    "cnn": "a small convolutional network",
    "mlp": "a perceptron",
}
# Batches of the fit itself; the body's own length is counted in images that it sees.
STEPS = {"classifier": 4000, "contrastive": 4000, "cnn": 3000, "mlp": 4000}
CLASSIFIER_IMAGES, CONTRASTIVE_BATCHES = 200_000, 600
# From here on features can be learned without labels; above the other one they look at smaller copies.
LEAST_SIDE, MOST_SIDE = 32, 64
SMALLEST = 8
LEAST_OF_A_CLASS = 5


def body_for(shape: tuple[int, ...], labels: Tensor | None, body: str | None) -> str:
    """The body asked for, or the one for samples of this shape and their `labels` (N,).

    Labels say something where there are two classes or more, of so many samples each on average that a classifier can be
    learned. Raises InputError where the body asked for does not fit.
    """
    classes = 0 if labels is None else len(labels.unique())
    labelled = labels is not None and classes >= 2 and len(labels) >= LEAST_OF_A_CLASS * classes
    if len(shape) == 1:
        fitting: tuple[str, ...] = ("mlp",)
    else:
        if min(shape[1:]) < SMALLEST:
            raise InputError(f"a ratio of images needs {SMALLEST}x{SMALLEST} pixels at the least; got {shape[2]}x{shape[1]}")
        without = ("contrastive", "cnn") if min(shape[1:]) >= LEAST_SIDE else ("cnn", "contrastive")
        fitting = (*(("classifier",) if labelled else ()), *without)
    if body is None:
        return fitting[0]
    if body not in BODIES:
        raise InputError(f"body must be one of {', '.join(BODIES)}; got {body!r}")
    if body == "classifier" and len(shape) == 3 and not labelled:
        seen = "" if labels is None else f"; got {classes} for {len(labels)} samples"
        raise InputError(
            f"body 'classifier' needs labels of 2 classes or more, on average {LEAST_OF_A_CLASS} samples each{seen}: give "
            "real as (images, labels), or use contrastive or cnn"
        )
    if body not in fitting:
        raise InputError(f"body {body!r} does not look at samples of shape {shape}; use {', '.join(fitting)}")
    return body


def fitted(
    body: str, sides: Sides, shape: tuple[int, ...], steps: int | None, folder: Path, seed: int, device: str
) -> tuple[Part, dict[str, Any]]:
    """The network with its best weights, on the CPU, and what was measured of the fit. Goes on with what lies in `folder`."""
    steps, run = steps or STEPS[body], Run(folder / "ratio", resume=True)
    if body == "mlp":
        arguments: dict[str, Any] = {"dim": shape[0]}
        torch.manual_seed(seed)
        network: Any = VectorRatio(**arguments)
        recipe = VectorRecipe(steps=steps)
        measured = train_vector_ratio(network, recipe, sides.train.pixels, sides.pool, sides.judges, run, seed)
        return Part("vector-ratio", arguments, network), measured
    size = _seen_size(shape)
    if size != shape[1:]:
        shrunk = {name: _smaller(getattr(sides, name), size) for name in ("train", "pool", "holdout", "fakes")}
        sides = sides._replace(**shrunk)
    if body == "cnn":
        stages = 2 if min(size) < 16 else 3
        architecture, arguments = "ratio-network", {"widths": [32, 64, 88][:stages], "channels": shape[0], "hidden": 64}
        torch.manual_seed(seed)
        network = build(architecture, arguments)
        ratio = RatioRecipe(steps=steps)
        measured = train_ratio(network, ratio, sides.train.pixels, sides.pool, *sides.judges, run, seed, device)
    else:
        architecture = "feature-ratio"
        arguments, learned, learning = _learned_body(body, sides, shape[0], folder, seed, device)
        torch.manual_seed(seed)
        network = on_frozen_body(arguments, learned)
        head, rows = HeadRecipe(steps=steps), rows_of(network, sides, device, mirror=False)
        measured = {**train_head(network, head, rows, run=run, seed=seed, device=device), "body_training": learning}
    to_device(network, "cpu", torch.contiguous_format)
    network.eval().requires_grad_(False)
    if size == shape[1:]:
        return Part(architecture, arguments, network), measured
    whole = {"ratio": architecture, "arguments": arguments, "size": list(size)}
    smaller: Any = build("smaller-ratio", whole)
    smaller.ratio.load_state_dict(network.state_dict())
    return Part("smaller-ratio", whole, smaller.eval().requires_grad_(False)), measured


def _learned_body(
    body: str, sides: Sides, channels: int, folder: Path, seed: int, device: str
) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Arguments of the ratio on it, the trained body, and the record of its training."""
    run, own_seed = Run(folder / "body", resume=True), seed + BODY_SEED
    torch.manual_seed(own_seed)
    side, count = min(sides.pool.shape[2:]), len(sides.train.pixels)
    stages = 3 if side >= 16 else 2
    if body == "contrastive":
        inner: dict[str, Any] = {
            "in_channels": channels,
            "widths": [24, 32, 48, 64, 64] if side >= LEAST_SIDE else [24, 48, 64],
        }
        learned: Any = build("contrastive-encoder", inner)
        recipe = ContrastiveRecipe(steps=CONTRASTIVE_BATCHES, batch_size=min(128, count), crop=2 * round(0.375 * side))
        learning = train_encoder(learned, recipe, sides.train.pixels, run, own_seed, device)
        return {"body": "contrastive-encoder", "arguments": inner}, learned, {"batches": CONTRASTIVE_BATCHES, **learning}
    assert sides.train.labels is not None
    inner = {"in_channels": channels, "widths": [16, 32, 48][:stages] if channels == 1 else [32, 64, 96][:stages]}
    inner["classes"] = int(sides.train.labels.max()) + 1
    learned = build("resnet-classifier", inner)
    epochs = max(CLASSIFIER_IMAGES // count, 4)
    batch = min(256, count)
    learning = train_classifier(
        learned, ClassifierRecipe(epochs, batch_size=batch, flip=False), sides.train, sides.holdout, run, own_seed, device
    )
    return {"body": "resnet-classifier", "arguments": inner}, learned, {"epochs": epochs, **learning}


def _seen_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """What the body sees of images (C, H, W): themselves, or as many times smaller as brings them down to 64 pixels."""
    height, width = shape[1:]
    times = max(1, -(-min(height, width) // MOST_SIDE))
    return height // times, width // times


def _smaller(side: Any, size: tuple[int, int]) -> Any:
    if isinstance(side, Images):
        return Images(_smaller(side.pixels, size), side.labels)
    return torch.cat([_averaged(part, size) for part in side.split(256)])


def _averaged(part: Tensor, size: tuple[int, int]) -> Tensor:
    return F.adaptive_avg_pool2d(part.float(), size).round().clamp(0, 255).to(torch.uint8)
