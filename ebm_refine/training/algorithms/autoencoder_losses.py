"""Losses of the GANs whose discriminator is an autoencoder: EBGAN, its pulling-away term, BEGAN and MAGAN. Pure functions.

Everywhere D(x) (B,) float, at least 0, is the reconstruction error of each image of a batch: low on data. Whether it is a mean
square, a norm or a mean absolute error is the network's matter (`ebm_refine.models.networks.autoencoder`); a margin is in its
unit.

- EBGAN: Zhao, Mathieu and LeCun 2017, "Energy-based generative adversarial network" (arXiv 1609.03126).
- BEGAN: Berthelot, Schumm and Metz 2017, "BEGAN: boundary equilibrium generative adversarial networks" (arXiv 1703.10717).
- MAGAN: Wang, Cully, Chang and Demiris 2017, "MAGAN: margin adaptation for generative adversarial networks" (arXiv
  1704.03817).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PULLING_AWAY_WEIGHT = 0.1
BEGAN_RATE = 0.001


def margin_loss(on_real: Tensor, on_fake: Tensor, margin: float) -> Tensor:
    """L_D = D(x) + [m - D(G(z))]^+, the mean over a batch: scalar. A fake beyond the margin m is pushed no further."""
    return on_real.mean() + F.relu(margin - on_fake).mean()


def generator_loss(on_fake: Tensor) -> Tensor:
    """L_G = D(G(z)), the mean over a batch: scalar. The same for all four models."""
    return on_fake.mean()


def pulling_away(codes: Tensor) -> Tensor:
    """Mean squared cosine over the distinct pairs of `codes` (B, d), B >= 2: scalar in [0, 1].

    0 where all are orthogonal, 1 where all lie on one line. Added to L_G of the encoder's codes of generated images, with
    weight 0.1; it is not taken between a code and itself. Raises ValueError for fewer than two codes.
    """
    if codes.dim() != 2 or len(codes) < 2:
        raise ValueError(f"codes must be (B, d) with B >= 2; got {tuple(codes.shape)}")
    unit = F.normalize(codes, dim=1)
    squared = (unit @ unit.T).square()
    count = len(codes)
    return (squared.sum() - squared.diagonal().sum()) / (count * (count - 1))


def began_loss(on_real: Tensor, on_fake: Tensor, k: float) -> Tensor:
    """L_D = L(x) - k L(G(z)), the mean over a batch: scalar."""
    return on_real.mean() - k * on_fake.mean()


def next_k(k: float, real: float, fake: float, gamma: float, rate: float = BEGAN_RATE) -> float:
    """k + rate (gamma L(x) - L(G(z))), clipped to [0, 1]; `real`, `fake` are the batch means of L."""
    return min(1.0, max(0.0, k + rate * (gamma * real - fake)))


def began_convergence(real: float, fake: float, gamma: float) -> float:
    """M = L(x) + |gamma L(x) - L(G(z))|: low where reconstruction is good and the balance gamma is held."""
    return real + abs(gamma * real - fake)


def next_margin(margin: float, real: float, fake: float, fake_before: float) -> float:
    """MAGAN's margin at an epoch's end: mean D(real) if that is below m and mean D(fake), and mean D(fake) has risen; else m.

    real, fake: means over the epoch; fake_before: mean D(fake) of the epoch before (inf at the first, so that nothing has
    risen). The margin only ever falls.
    """
    return real if real < margin and real < fake and fake > fake_before else margin


def mean_squared_cosine(codes: Tensor) -> float:
    """`pulling_away` of `codes` (B, d) as a number, in double precision: how alike a set of codes is."""
    with torch.no_grad():
        return float(pulling_away(codes.double()))
