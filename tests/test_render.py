"""Pictures: the grid that is tiled here is torchvision's, to the bit."""

import itertools

import numpy as np
import torch
from torchvision.utils import make_grid

from ebm_refine import render


def test_a_grid_is_torchvisions():
    torch.manual_seed(0)
    for channels, count, columns in itertools.product((1, 3), (1, 2, 3, 7, 16), (1, 3, 8)):
        images = torch.randint(0, 256, (count, channels, 5, 7), dtype=torch.uint8)
        theirs = make_grid(images, nrow=columns, padding=1, pad_value=0).permute(1, 2, 0).numpy()
        assert np.array_equal(np.asarray(render.grid(images, columns)), theirs)
    layout = render.grid_layout(images, scale=2)
    enlarged = np.asarray(render.grid(images, scale=2))
    left, top = 2 * (1 + 1 * 8), 2 * (1 + 2 * 6)  # the tile in column 1 of row 2
    assert np.array_equal(enlarged[top : top + 10 : 2, left : left + 14 : 2], images[9].permute(1, 2, 0).numpy())
    assert layout.tile_at(left, top) == 9
