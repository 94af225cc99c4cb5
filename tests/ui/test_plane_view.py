"""The plane's pictures and what the browser is sent: orientation, layers, places that are not finite."""

import itertools
import json
import math
from typing import NamedTuple

import numpy as np
import torch

from ebm_refine.toy2d import plane_pictures as plane
from ebm_refine.toy2d.landscape import Landscape
from ebm_refine.ui.components.plane_view import PARTS, scene, window
from ebm_refine.ui.tabs.toy2d.job import Recorded


def valley() -> torch.Tensor:
    """(32, 32): lowest at the bottom left corner of the plane, rising towards the top right one."""
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return (row + 2 * column) / 4


def test_the_shade_is_deepest_where_the_energy_is_lowest():
    alpha = np.asarray(plane.shade(valley()))[..., 3].astype(int)
    assert alpha.shape == (plane.SIDE, plane.SIDE)
    deepest = np.unravel_index(alpha.argmax(), alpha.shape)
    assert deepest[0] > 0.9 * plane.SIDE  # the picture's bottom
    assert deepest[1] < 0.1 * plane.SIDE
    assert alpha.max() == plane.OPACITY
    assert (np.diff(alpha[plane.SIDE // 2]) <= 0).all()
    broken = valley()
    broken[0, 0] = math.nan
    broken[5, 5] = -math.inf
    assert np.asarray(plane.shade(broken)).shape == (plane.SIDE, plane.SIDE, 4)
    assert np.asarray(plane.shade(torch.full((4, 4), math.nan)))[..., 3].max() == 0


def test_contours_are_equally_far_apart_in_energy():
    """Along a row of a tilted plane the lines stand at equal distances; a level plane has none."""
    ramp = torch.arange(64.0).repeat(64, 1) / 10
    drawn = np.asarray(plane.contours(ramp))[plane.SIDE // 2, :, 3] > 0
    places = np.flatnonzero(drawn)
    gaps = np.diff(places[places < 0.85 * plane.SIDE])
    assert len(gaps) >= plane.LINES - 3
    assert gaps.max() - gaps.min() <= 1
    assert np.asarray(plane.contours(torch.zeros(8, 8))).max() == 0


def test_what_is_sent_to_the_browser():
    field = torch.zeros(4, 4, 2)
    field[3, 0] = torch.tensor([0.0, 2.0])  # upwards at the top left
    ground = Landscape("data", "energy E(x)", (-2.0, 2.0), valley(), field)
    particles = torch.tensor([[-2.0, -2.0], [2.0, 0.0], [math.nan, 0.0], [1e6, 0.0]])
    offered = (particles, torch.tensor([True, False, False, True]))
    sent = window(ground, [particles], particles[:1], [None, offered])
    assert sent["frames"] == [[0, 0, PARTS, PARTS // 2, None, None, None, None]]
    assert sent["data"] == [0, 0]
    assert sent["proposals"] == [None, sent["frames"][0]]
    assert sent["taken"] == [None, [1, 0, 0, 1]]
    longest = max(sent["field"], key=lambda arrow: abs(arrow[2]) + abs(arrow[3]))
    assert longest[:2] == [PARTS // 8, 7 * PARTS // 8]
    assert longest[2] == 0.0
    assert 0 < longest[3] < 0.25
    # In one string: Gradio's page copies lists number by number at every message of a run.
    whole = scene([sent], [3], "particles")
    assert isinstance(whole, str)
    assert json.loads(whole) == {"windows": [sent], "steps": [3], "label": "particles"}
    assert sent["shade"].startswith("data:image/png;base64,")


def test_frames_of_a_run_of_unknown_length_are_equally_far_apart():
    class Frame(NamedTuple):
        step: int

    for length in (0, 3, 59, 60, 61, 500, 10_000):
        recorded = Recorded(60)
        for step in range(length + 1):
            recorded.add(Frame(step))
        steps = [frame.step for frame in recorded.frames()]
        assert (steps[0], steps[-1]) == (0, length)
        assert len(steps) <= 61
        assert len(steps) >= min(length + 1, 30)
        assert len({later - earlier for earlier, later in itertools.pairwise(steps[:-1])}) <= 1
