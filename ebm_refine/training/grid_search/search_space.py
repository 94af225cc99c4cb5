"""The published grid of fully connected GANs and EBGANs on MNIST: Zhao, Mathieu and LeCun 2017 (arXiv 1609.03126), table 1.

512 settings of an EBGAN and 6,144 of a GAN: of an EBGAN the rate, both optimisers and the margin are held. EBGAN-PT, the same
with the pulling-away term, has the EBGAN's settings.
"""

import hashlib
import itertools
import json
from typing import Any, NamedTuple

import torch

FAMILIES = ("gan", "ebgan", "ebgan-pt")
TITLES = {"gan": "GAN", "ebgan": "EBGAN", "ebgan-pt": "EBGAN-PT"}
LAYERS = (2, 3, 4, 5)


class Setting(NamedTuple):
    """One point of the grid.

    Layers are counted with the last one. Of an EBGAN, `layers_d` counts encoder and decoder together, and the decoder is one
    layer. Sizes are those of every hidden layer (of an EBGAN's D: of the code too).
    """

    family: str
    layers_g: int
    layers_d: int
    size_g: int
    size_d: int
    dropout_d: bool
    optim_d: str
    optim_g: str
    rate: float


_NETWORKS: dict[str, tuple[Any, ...]] = {
    "layers_g": LAYERS,
    "layers_d": LAYERS,
    "size_g": (400, 800, 1600, 3200),
    "size_d": (128, 256, 512, 1024),
    "dropout_d": (True, False),
}
_HELD: dict[str, tuple[Any, ...]] = {"optim_d": ("adam",), "optim_g": ("adam",), "rate": (0.001,)}
_FREE: dict[str, tuple[Any, ...]] = {"optim_d": ("adam", "sgd"), "optim_g": ("adam", "sgd"), "rate": (0.01, 0.001, 0.0001)}
SPACE: dict[str, dict[str, tuple[Any, ...]]] = {
    "gan": {**_NETWORKS, **_FREE},
    "ebgan": {**_NETWORKS, **_HELD},
    "ebgan-pt": {**_NETWORKS, **_HELD},
}

Space = dict[str, dict[str, tuple[Any, ...]]]


def settings_of(family: str, space: Space = SPACE) -> list[Setting]:
    """Every setting of a family, in the order of the axes."""
    return [Setting(family, *values) for values in itertools.product(*space[family].values())]


def fingerprint(space: Space = SPACE) -> str:
    """sha256 over names and values of all axes, in their order: two studies with the same one have the same space."""
    return hashlib.sha256(json.dumps(space).encode()).hexdigest()


def random_subset(per_family: int, seed: int, space: Space = SPACE) -> list[Setting]:
    """`per_family` settings of each family, or all where there are fewer, in a seeded order and by turns.

    By turns, so that a study that is not finished has as many trials of each. EBGAN and EBGAN-PT, which have the same axes,
    get the same settings and are compared in pairs. A shorter list is the beginning of a longer one.
    """
    lists = []
    for family in space:
        settings = settings_of(family, space)
        order = torch.randperm(len(settings), generator=torch.Generator().manual_seed(seed)).tolist()
        lists.append([settings[index] for index in order[:per_family]])
    turns = itertools.zip_longest(*lists)
    return [setting for turn in turns for setting in turn if setting is not None]
