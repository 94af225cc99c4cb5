"""What refits of a ratio say of a run, against the same sums written out, and that they belong to one ratio only."""

from pathlib import Path

import pytest
import torch
from conftest import tiny_pair_config, tiny_pair_parts

from ebm_refine.data.images import to_unit
from ebm_refine.errors import CheckpointError
from ebm_refine.metrics.ratio_spread import ratio_spread
from ebm_refine.models.checkpoint import Checkpoint, Part, load_checkpoint, save_checkpoint
from ebm_refine.models.networks.ratio import FeatureRatio
from ebm_refine.models.refits import REFITS, refits_table
from ebm_refine.ui.tabs.refine.metrics_panel import how_far

BODY = {"in_channels": 1, "widths": [4, 4, 4], "classes": 2}


@pytest.fixture(params=[0, 8], ids=["linear", "hidden layers"])
def checkpoint(request) -> Checkpoint:
    first, *others = (ratio(request.param, seed) for seed in range(4))
    table = refits_table(first, [head_of(one) for one in others])
    return Checkpoint("one", Path("one"), {}, {"ratio": first}, {REFITS: table})


def ratio(hidden: int, seed: int, channels: int = 1) -> FeatureRatio:
    """A ratio whose head the seed draws, on one body for all."""
    torch.manual_seed(0)
    network = FeatureRatio("resnet-classifier", BODY | {"in_channels": channels}, hidden, 0.5, pixels=1).eval()
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
    assert "Fitted 3 times more" in how_far({"ratio_spread": found})
    assert how_far({}) == ""


def test_refits_of_other_weights_are_not_used(checkpoint):
    checkpoint.networks["ratio"].last.weight[0, 0] += 1
    assert ratio_spread(checkpoint, images(1), images(2)) is None
    checkpoint.tables.clear()
    assert ratio_spread(checkpoint, images(1), images(2)) is None


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda table: {"of": table["of"]},
        lambda table: {**table, "last.bias": table["last.bias"][:2]},
        lambda table: {**table, "last.bias": table["last.bias"][:, :0]},
        lambda table: {name: value if name == "of" else value[:1] for name, value in table.items()},
        lambda table: {**table, "last.bias": table["last.bias"] * torch.nan},
        lambda table: {**table, "body.whiten.weight": torch.zeros(3, 8, 1, 2, 2)},
        lambda table: {**table, "last.bias": torch.tensor(1.0)},
        lambda table: {**table, "last.bias": table["last.bias"].long()},
        lambda table: {**table, "last.bias": table["last.bias"].double() * 1e300},  # finite, but not in float32
        lambda table: {**table, "head.0.running_var": -table["head.0.running_var"]},
        lambda table: {**table, "last.bias": (table["last.bias"] * torch.nan).to(torch.float8_e4m3fn)},
    ],
)
def test_a_foreign_file_that_does_not_fit_is_named(spoilt, tmp_path):
    network = ratio(8, 0, channels=3)
    table = refits_table(network, [head_of(ratio(8, seed, channels=3)) for seed in (1, 2, 3)])
    save_checkpoint(tmp_path / "good", tiny_pair_config(), parts_with(network), "", {REFITS: table})
    assert len(load_checkpoint(tmp_path / "good").tables[REFITS]["last.bias"]) == 3
    save_checkpoint(tmp_path / "bad", tiny_pair_config(), parts_with(network), "", {REFITS: spoilt(table)})
    with pytest.raises(CheckpointError, match=r"ratio-refits\.safetensors must hold 2 to 64 finite refits"):
        load_checkpoint(tmp_path / "bad")


def parts_with(network: FeatureRatio) -> dict[str, Part]:
    arguments = {"body": "resnet-classifier", "arguments": BODY | {"in_channels": 3}, "hidden": 8, "dropout": 0.5, "pixels": 1}
    return {**tiny_pair_parts(), "ratio": Part("feature-ratio", arguments, network)}


def test_a_ratio_of_finite_weights_that_gives_no_number_is_named(tmp_path):
    network = ratio(8, 0, channels=3)
    network.head[0].running_var.fill_(-5)
    save_checkpoint(tmp_path / "bad", tiny_pair_config(), parts_with(network), "")
    with pytest.raises(CheckpointError, match="the ratio gives nan for a sample, where a finite number is needed"):
        load_checkpoint(tmp_path / "bad")


def test_a_refit_that_overflows_gives_no_entry(checkpoint):
    weights = checkpoint.tables[REFITS]["last.weight"].float()
    checkpoint.tables[REFITS]["last.weight"] = weights.sign() * 3e38
    assert ratio_spread(checkpoint, images(1), images(2)) is None


def test_refits_that_name_no_ratio_are_not_used(checkpoint):
    del checkpoint.tables[REFITS]["of"]
    assert ratio_spread(checkpoint, images(1), images(2)) is None
