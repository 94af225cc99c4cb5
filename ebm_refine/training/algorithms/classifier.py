"""Train the small residual classifiers whose penultimate layers are the embedded feature extractors."""

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.data.images import Images, to_unit
from ebm_refine.errors import InputError
from ebm_refine.models.networks.resnet import ResNetClassifier
from ebm_refine.training.common.averages import update_average
from ebm_refine.training.common.resumable import Run, epoch_order, to_device
from ebm_refine.training.common.updates import Updates


class ClassifierRecipe(NamedTuple):
    """SGD with Nesterov momentum and a triangular rate; the weights' exponential average is the result."""

    epochs: int
    batch_size: int = 256
    peak_rate: float = 0.3
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    warm_share: float = 0.2
    average_decay: float = 0.99
    flip: bool = True
    shift: int = 2


def train_classifier(
    network: ResNetClassifier, recipe: ClassifierRecipe, train: Images, holdout: Images, run: Run, seed: int, device: str
) -> dict[str, float]:
    """Fit `network` in place to `train`; returns {"holdout_accuracy"}. State is saved after every epoch."""
    torch.manual_seed(seed)
    network.set_whitening(to_unit(train.pixels[:5000]))
    to_device(network, device)
    average = copy.deepcopy(network).requires_grad_(False)
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.0, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay)
    steps_per_epoch = len(train.pixels) // recipe.batch_size
    total = recipe.epochs * steps_per_epoch
    updates = Updates(run, {"network": network, "optimizer": optimizer, "average": average}, recipe.epochs, "epochs")
    for epoch in updates:
        network.train()
        order = epoch_order(len(train.pixels), seed, epoch)
        pixels = augment(train.pixels[order], recipe, odd=bool(epoch % 2), index=order)
        labels = labelled(train)[order]
        losses = []
        for batch in range(steps_per_epoch):
            step = epoch * steps_per_epoch + batch
            optimizer.param_groups[0]["lr"] = recipe.peak_rate * triangle(step / total, recipe.warm_share)
            part = slice(batch * recipe.batch_size, (batch + 1) * recipe.batch_size)
            images = to_unit(pixels[part]).to(device, memory_format=torch.channels_last)
            loss = F.cross_entropy(network(images), labels[part].to(device), label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            if step % 5 == 0:
                update_average(average, network, recipe.average_decay**5)
        run.log(
            epoch=epoch + 1,
            loss=float(torch.stack(losses).mean()),
            holdout_accuracy=accuracy(network, holdout, device),
        )
        updates.save(epoch + 1)
    network.load_state_dict(average.state_dict())
    return {"holdout_accuracy": accuracy(network, holdout, device)}


@torch.no_grad()
def accuracy(network: nn.Module, images: Images, device: str = "cpu") -> float:
    """The share of `images` whose most probable class is their label; an energy is asked for its `logits`."""
    network.eval()
    logits = getattr(network, "logits", network)
    right = 0
    for pixels, labels in zip(images.pixels.split(500), labelled(images).split(500), strict=True):
        right += int((logits(to_unit(pixels).to(device)).argmax(1).cpu() == labels).sum())
    return right / len(images.pixels)


def labelled(images: Images) -> Tensor:
    """The labels (N,). Raises InputError where the data has none."""
    if images.labels is None:
        raise InputError("a classifier needs a column 'label', which this data does not have")
    return images.labels


def augment(pixels: Tensor, recipe: ClassifierRecipe, *, odd: bool, index: Tensor) -> Tensor:
    """Shift by up to `recipe.shift` pixels, reflecting; flip, alternating by epoch so that both sides are seen equally."""
    count, channels, height, width = pixels.shape
    if recipe.shift:
        padded = F.pad(pixels.float(), (recipe.shift,) * 4, mode="reflect").to(torch.uint8)
        corner = torch.randint(0, 2 * recipe.shift + 1, (2, count))
        rows = (corner[0][:, None] + torch.arange(height))[:, None, :, None]
        columns = (corner[1][:, None] + torch.arange(width))[:, None, None, :]
        pixels = padded[torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None], rows, columns]
    if recipe.flip:
        flipped = ((index * 2654435761 >> 16) % 2 == 1) ^ odd
        pixels = torch.where(flipped[:, None, None, None], pixels.flip(3), pixels)
    return pixels


def triangle(progress: float, warm_share: float) -> float:
    """Rise linearly to 1 at `warm_share`, then fall linearly to 0."""
    return progress / warm_share if progress < warm_share else (1 - progress) / (1 - warm_share)
