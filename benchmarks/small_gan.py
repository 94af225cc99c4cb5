"""A small GAN of digits in plain PyTorch, written as a tutorial would: the stranger that `own_model.py` brings to `ebm_refine`.

    python benchmarks/small_gan.py --data ../shared/data/mnist --out runs/small_gan.pt [--steps 3000]

Nothing here imports `ebm_refine`. A DCGAN of 28x28 digits with the non-saturating loss (Goodfellow et al. 2014), spectral norm
in the discriminator, and an exponential average of the generator over some hundred batches beside it; 0.16 s a batch on a core.
`networks(file)` gives generator and discriminator, the averaged generator with `averaged=True`.
"""

import argparse
import copy
import glob
import io
import time

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

LATENT = 64


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(LATENT, 128, 7, 1, 0, bias=False), nn.BatchNorm2d(128), nn.ReLU(True),
            nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(True),
            nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            spectral_norm(nn.Conv2d(1, 32, 4, 2, 1)), nn.LeakyReLU(0.2, True),
            spectral_norm(nn.Conv2d(32, 64, 4, 2, 1)), nn.LeakyReLU(0.2, True),
            spectral_norm(nn.Conv2d(64, 128, 3, 1, 1)), nn.LeakyReLU(0.2, True),
            spectral_norm(nn.Conv2d(128, 1, 7)),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x).view(-1, 1)


def digits(folder: str, split: str = "train") -> Tensor:
    """(N, 1, 28, 28) uint8 of the parquet files `split-*` in `folder`."""
    files = sorted(glob.glob(f"{folder}/{split}-*.parquet"))
    rows = [row for file in files for row in pq.read_table(file)["image"].to_pylist()]
    return torch.from_numpy(np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in rows]))[:, None]


def train(images: Tensor, steps: int, seed: int = 0, batch: int = 64) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    g, d = Generator(), Discriminator()
    average = copy.deepcopy(g).eval()
    of_g = torch.optim.Adam(g.parameters(), 2e-4, (0.5, 0.999))
    of_d = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999))
    started = time.monotonic()
    for step in range(1, steps + 1):
        real = images[torch.randint(len(images), (batch,))].float() / 127.5 - 1
        fake = g(torch.randn(batch, LATENT, 1, 1))
        loss = F.softplus(-d(real)).mean() + F.softplus(d(fake.detach())).mean()
        of_d.zero_grad()
        loss.backward()
        of_d.step()
        of_g.zero_grad()
        loss_g = F.softplus(-d(fake)).mean()
        loss_g.backward()
        of_g.step()
        with torch.no_grad():
            for one, other in zip(average.state_dict().values(), g.state_dict().values(), strict=True):
                one.lerp_(other, max(0.01, 1 / step)) if one.is_floating_point() else one.copy_(other)
        if step % 250 == 0:
            print(f"step {step}: D {loss.item():.3f}, G {loss_g.item():.3f}, {time.monotonic() - started:.0f} s", flush=True)
    return {"generator": g.eval(), "averaged": average, "discriminator": d.eval()}


def networks(file: str, averaged: bool = False) -> tuple[Generator, Discriminator]:
    states = torch.load(file, weights_only=True)
    g, d = Generator(), Discriminator()
    g.load_state_dict(states["averaged" if averaged else "generator"])
    d.load_state_dict(states["discriminator"])
    return g.eval(), d.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=3000)
    chosen = parser.parse_args()
    trained = train(digits(chosen.data), chosen.steps)
    torch.save({name: network.state_dict() for name, network in trained.items()}, chosen.out)
