"""Train D alone against a frozen generator: cross-entropy, until that on the holdout stops falling.

This phase matters as much as the game before it: the averaged generator that ships is not the one D was trained against, and a
hinge loss has no log ratio as its optimum. After it D's logit is a log ratio for the generator beside it (docs/design.md,
"Words and mathematics").
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.data.images import Images, to_unit
from ebm_refine.training.algorithms.gan import GANRecipe, autocast_bf16, bake_spectral_norm
from ebm_refine.training.common.augment import Augmentation, augment
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.stopping import Stopping, train_to_lowest


class AloneRecipe(NamedTuple):
    """D alone: at most `steps` batches, measured every `every`, over once `patience` measurements found nothing lower."""

    steps: int = 4000
    batch_size: int = 64
    rate: float = 2e-4
    augmentation: Augmentation = Augmentation(mirror=True, shift=0.125)
    every: int = 250
    patience: int = 6
    beta1: float = 0.5


class Batch(NamedTuple):
    """Images (B, C, H, W) float32 in [-1, 1] and labels (B,) int64, or None for networks that see none."""

    images: Tensor
    labels: Tensor | None = None


class Measured(NamedTuple):
    """Real images on which the cross-entropy is taken: held-out ones, and as many of those that are trained on."""

    holdout: Images
    train: Images


def train_discriminator_alone(
    generator: Any,
    discriminator: nn.Module,
    recipe: GANRecipe,
    train: Tensor,
    holdout: Tensor,
    run: Run,
    seed: int,
    device: str,
) -> dict[str, float]:
    """`train_alone` for a pair without labels, as its recipe says; `train`, `holdout` (N, C, H, W) uint8."""

    def draw(step: int) -> tuple[Batch, Batch]:
        real = to_unit(train[torch.randint(len(train), (recipe.batch_size,))])
        return Batch(real.to(device)), fake_batch(generator, recipe.batch_size, device)

    alone = AloneRecipe(
        recipe.alone_steps,
        recipe.batch_size,
        recipe.rate_d,
        recipe.augmentation,
        recipe.alone_every,
        recipe.alone_patience,
        recipe.beta1,
    )
    measured = Measured(Images(holdout, None), Images(train[: len(holdout)], None))
    return train_alone(generator, discriminator, alone, draw, measured, run, seed, device)


def train_alone(
    generator: Any,
    discriminator: nn.Module,
    recipe: AloneRecipe,
    draw: Callable[[int], tuple[Batch, Batch]],
    measured: Measured,
    run: Run,
    seed: int,
    device: str,
) -> dict[str, float]:
    """D against the frozen `generator` until the holdout cross-entropy stops falling, or `recipe.steps` are done.

    `draw(step)` gives as many real images as fakes. D's spectral norms are baked first: a bound on its slope steadies the game,
    but a ratio has the slope that it has. Its rate falls linearly to zero, as what it follows no longer moves. D is changed in
    place to its best state. Returns {"alone_step", "alone_steps", "holdout_cross_entropy", "train_cross_entropy"}. `run` is
    this phase's own.
    """
    torch.manual_seed(seed + 1)
    generator.eval().requires_grad_(False)
    bake_spectral_norm(discriminator)
    adam = torch.optim.Adam(discriminator.parameters(), lr=recipe.rate, betas=(recipe.beta1, 0.999))

    def update(step: int) -> None:
        discriminator.train()
        adam.param_groups[0]["lr"] = recipe.rate * (1 - step / recipe.steps)
        with autocast_bf16(device):
            with torch.no_grad():
                real, fake = draw(step)
            both = augment(torch.cat([real.images, fake.images]), recipe.augmentation)
            on_real, on_fake = discriminator(both, *joined(real.labels, fake.labels)).float().chunk(2)
        loss = (F.softplus(-on_real).mean() + F.softplus(on_fake).mean()) / 2
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()

    def measure() -> dict[str, float]:
        on_holdout, on_train = (mean_cross_entropy(generator, discriminator, side, seed, device) for side in measured)
        return {"holdout_cross_entropy": on_holdout, "train_cross_entropy": on_train}

    stopping = Stopping(recipe.steps, recipe.every, recipe.patience)
    parts = {"discriminator": discriminator, "adam": adam}
    best = train_to_lowest(parts, "discriminator", update, measure, stopping, run, "D alone")
    discriminator.load_state_dict(best["weights"])
    discriminator.eval()
    return {"alone_step": best["step"], "alone_steps": best["steps_run"], **best["measured"]}


@torch.no_grad()
def mean_cross_entropy(generator: Any, discriminator: nn.Module, real: Images, seed: int, device: str) -> float:
    """Mean of -log D over `real` and -log(1 - D) over as many fakes, the same at every call; chance is log 2 = 0.693."""
    discriminator.eval()
    source = torch.Generator().manual_seed(seed)
    total = 0.0
    for start in range(0, len(real.pixels), 500):
        pixels = real.pixels[start : start + 500]
        labels = None if real.labels is None else real.labels[start : start + 500].to(device)
        fake = fake_batch(generator, len(pixels), device, source)
        total += float(F.softplus(-discriminator(to_unit(pixels).to(device), *joined(labels))).sum())
        total += float(F.softplus(discriminator(fake.images.float(), *joined(fake.labels))).sum())
    return total / (2 * len(real.pixels))


def fake_batch(generator: Any, count: int, device: str, source: torch.Generator | None = None) -> Batch:
    """Samples, of uniform labels where it takes labels, from the global random state or from `source`."""
    latents = torch.randn(count, generator.latent, generator=source).to(device)
    if not getattr(generator, "takes_labels", False):
        return Batch(generator(latents))
    labels = torch.randint(generator.classes, (count,), generator=source).to(device)
    return Batch(generator(latents, labels), labels)


def joined(*labels: Tensor | None) -> tuple[Tensor, ...]:
    """The labels as D takes them after the images: all in one tensor, or no argument at all."""
    given = [part for part in labels if part is not None]
    return (torch.cat(given),) if given else ()


@torch.no_grad()
def conditional_samples(generator: Any, count: int, seed: int, device: str = "cpu") -> Images:
    """Samples (count, C, H, W) uint8, on the CPU, and their uniform labels; latents and labels depend on the seed alone."""
    source = torch.Generator().manual_seed(seed + 10_000)
    pixels: list[Tensor] = []
    labels: list[Tensor] = []
    for start in range(0, count, 500):
        with autocast_bf16(device):
            batch = fake_batch(generator, min(500, count - start), device, source)
        pixels.append(batch.images.float().cpu().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8))
        assert batch.labels is not None
        labels.append(batch.labels.cpu())
    return Images(torch.cat(pixels), torch.cat(labels))
