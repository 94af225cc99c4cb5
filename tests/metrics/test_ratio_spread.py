"""What refits of a linear ratio say of a run, against the same sums written out, and that they belong to one ratio only."""

from pathlib import Path

import pytest
import torch

from ebm_refine.data.images import to_unit
from ebm_refine.metrics.ratio_spread import REFITS, ratio_spread
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.networks.ratio import FeatureRatio
from ebm_refine.ui.tabs.refine.metrics_panel import how_far


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    network = FeatureRatio("resnet-classifier", {"in_channels": 1, "widths": [4, 4, 4], "classes": 2}, 0, 0.0, pixels=1).eval()
    torch.nn.init.normal_(network.last.weight)
    network = network.half().float().requires_grad_(False)
    weight = network.last.weight[0]
    table = {"weight": weight + torch.randn(3, len(weight)), "bias": torch.randn(3), "of": weight.half()}
    return Checkpoint("one", Path("one"), {}, {"ratio": network}, {REFITS: table})


def images(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (130, 1, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_the_sums(checkpoint):
    before, after = images(1), images(2)
    network, table = checkpoint.networks["ratio"], checkpoint.tables[REFITS]
    found = ratio_spread(checkpoint, before, after)
    assert found is not None
    seen = [network.head(network.features(to_unit(part))) for part in (before, after)]
    own = [float(network(to_unit(part)).mean()) for part in (before, after)]
    by = [rows @ table["weight"].T + table["bias"] for rows in seen]
    rises = (by[1] - by[0]).mean(0)
    assert found["refits"] == 3
    assert found["rise"] == pytest.approx(own[1] - own[0], abs=1e-5)
    assert found["rise_by_refits"] == pytest.approx([float(rises.min()), float(rises.max())], abs=1e-5)
    assert found["sd_before"] == pytest.approx(float(by[0].std(1).mean()), abs=1e-5)
    assert found["sd_after"] == pytest.approx(float(by[1].std(1).mean()), abs=1e-5)
    assert "by 3 refits" in how_far({"ratio_spread": found})
    assert how_far({}) == ""


def test_refits_of_other_weights_are_not_used(checkpoint):
    checkpoint.networks["ratio"].last.weight[0, 0] += 1
    assert ratio_spread(checkpoint, images(1), images(2)) is None
    checkpoint.tables.clear()
    assert ratio_spread(checkpoint, images(1), images(2)) is None
