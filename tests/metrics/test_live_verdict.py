"""The verdict on few images: its sign, its error, who is asked, and what it refuses."""

import pytest
import torch
from torch import Tensor

from ebm_refine import catalogue
from ebm_refine.errors import InputError
from ebm_refine.metrics import live_verdict as live
from ebm_refine.metrics.panel_store import embedded_panel
from ebm_refine.tasks import synthetic_digits

if not (catalogue.EMBEDDED / "mnist-panel" / "config.json").is_file():
    pytest.skip("no panel is embedded", allow_module_level=True)

MNIST = {"data": {"dataset": "mnist"}, "parts": {}}


@pytest.fixture(scope="module")
def digits() -> Tensor:
    """Digits (32, 1, 28, 28) uint8 that look like some."""
    written = torch.cat([synthetic_digits.written([digit % 10], 28) for digit in range(32)])
    return written.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def spoiled(digits: Tensor) -> Tensor:
    noise = torch.randn(digits.shape, generator=torch.Generator().manual_seed(0)) * 90
    return (digits + noise).clamp(0, 255).to(torch.uint8)


def test_what_is_cleaned_is_better_and_what_is_spoiled_is_worse_by_as_much(digits, spoiled):
    better, worse = live.live_verdict(spoiled, digits, MNIST, "raw"), live.live_verdict(digits, spoiled, MNIST, "raw")
    assert (better.word, worse.word) == ("better", "worse")
    assert better.z == pytest.approx(-worse.z)
    assert all(one.change < 0 for one in better.kinds)
    assert better.kinds[0].before + better.kinds[0].change == pytest.approx(worse.kinds[0].before)
    assert better.as_dict()["kinds"][0]["kind"] == "contrastive"


def test_no_change_is_no_verdict(digits):
    assert live.live_verdict(digits, digits, MNIST, "raw").word == "same"
    assert live.live_verdict(digits, digits, MNIST, "raw").z == 0


def test_a_kind_asked_twice_says_no_more_than_once(digits, spoiled, monkeypatch):
    (member,) = [one for one in embedded_panel("mnist").members if one.kind.name == "filter bank"]
    monkeypatch.setattr(live, "kinds_asked", lambda members, body: [member, member])
    found = live.live_verdict(digits, spoiled, MNIST, "raw")
    assert found.z == pytest.approx(found.kinds[0].change / found.kinds[0].error, rel=1e-6)


def test_the_kind_of_the_ratio_is_not_asked():
    members = embedded_panel("mnist").members
    names = {body: [one.kind.name for one in live.kinds_asked(members, [body])] for body in (None, "contrastive", "classifier")}
    assert names == {
        None: ["contrastive", "filter bank"],
        "contrastive": ["filter bank", "classifier"],
        "classifier": ["contrastive", "filter bank"],
    }
    damaged = [one._replace(rights={"votes": False, "failed": ["blur"]}) for one in members if one.kind.name == "filter bank"]
    assert live.kinds_asked(tuple(damaged), ()) == []


def test_what_it_refuses(digits):
    with pytest.raises(InputError, match="at least 16 images; got 8"):
        live.live_verdict(digits[:8], digits[:8], MNIST, "raw")
    with pytest.raises(InputError, match=r"shape \(1, 28, 28\); got \(1, 14, 14\)"):
        live.live_verdict(digits[..., ::2, ::2], digits[..., ::2, ::2], MNIST, "raw")
    with pytest.raises(InputError, match="cifar10, mnist, celeba; got 'mine'"):
        live.live_verdict(digits, digits, {"data": {"dataset": "mine"}, "parts": {}}, "raw")
