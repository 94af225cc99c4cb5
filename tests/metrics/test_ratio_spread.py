"""What refits of a ratio say of a run, against the same sums written out, and that they belong to one ratio only."""

from pathlib import Path

import pytest
import torch

from ebm_refine.data.images import to_unit
from ebm_refine.metrics.ratio_spread import REFITS, ratio_spread, refits_table
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.networks.ratio import FeatureRatio
from ebm_refine.ui.tabs.refine.metrics_panel import how_far


@pytest.fixture(params=[0, 8], ids=["linear", "hidden layers"])
def checkpoint(request) -> Checkpoint:
    first, *others = (ratio(request.param, seed) for seed in range(4))
    table = refits_table(first, [head_of(one) for one in others])
    return Checkpoint("one", Path("one"), {}, {"ratio": first}, {REFITS: table})


def ratio(hidden: int, seed: int) -> FeatureRatio:
    """A ratio whose head the seed draws, on one body for all."""
    torch.manual_seed(0)
    body = {"in_channels": 1, "widths": [4, 4, 4], "classes": 2}
    network = FeatureRatio("resnet-classifier", body, hidden, 0.5, pixels=1).eval()
    torch.manual_seed(seed)
    for parameter in (*network.head.parameters(), *network.last.parameters()):
        torch.nn.init.normal_(parameter)
    network.head[0].running_mean.normal_()
    return network.half().float().requires_grad_(False)


def head_of(network: FeatureRatio) -> dict[str, torch.Tensor]:
    return {name: value.half() for name, value in network.state_dict().items() if name.startswith(("head.", "last."))}


def images(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (130, 1, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_the_sums(checkpoint):
    before, after = images(1), images(2)
    hidden = 8 if len(checkpoint.networks["ratio"].head) > 2 else 0
    found = ratio_spread(checkpoint, before, after)
    assert found is not None
    by = [torch.stack([ratio(hidden, seed)(to_unit(part)) for seed in (1, 2, 3)], dim=1) for part in (before, after)]
    own = [float(ratio(hidden, 0)(to_unit(part)).mean()) for part in (before, after)]
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
