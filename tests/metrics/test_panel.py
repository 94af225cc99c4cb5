"""The panel's rule, by hand-made rows; its measurement, on images that nobody needs to train anything for; bad input."""

import math

import pytest
import torch

from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import Estimate
from ebm_refine.metrics.panel import Row, measured, panel, verdict
from ebm_refine.metrics.panel_kinds import kinds_seen, training_free
from ebm_refine.metrics.panel_rights import blurred, noisy, rights
from ebm_refine.metrics.panel_store import Member, Panel
from ebm_refine.metrics.principal_components import fit_basis


def row(z, relative=-0.3, why="", kind="pixels"):
    """A kind that saw a change of z standard errors and `relative` of the base's distance."""
    change = Estimate(relative, abs(relative / z) if z else 1.0)
    return Row(kind, "", why, Estimate(1.0, 0.01), Estimate(1 + relative, 0.01), change)


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([row(-4), row(-4), row(-4)], "confirmed"),
        ([row(-4), row(-4), row(-1)], "confirmed"),  # two thirds are enough
        ([row(-4), row(-4), row(-1), row(-1)], "open"),  # a half is not
        ([row(-4), row(-4)], "open"),  # two voters are too few
        ([row(-4), row(-4), row(-4, why="no")], "open"),
        ([row(-4, -0.09), row(-4, -0.09), row(-4, -0.5)], "open"),  # a median gain of 9 %
        ([row(-4), row(-4), row(-4), row(2.5, 0.2)], "open"),  # a loss beyond two errors
        ([row(-4), row(-4), row(-4), row(1.5, 0.2)], "confirmed"),
        ([row(-4), row(-4), row(-4), row(3.5, 0.2)], "contradicted"),
        ([row(-4), row(-4), row(-4), row(3.5, 0.04)], "open"),  # clear, but small
        ([row(-4), row(-4), row(-4), row(9, 0.9, why="no")], "confirmed"),
        ([row(0.5), row(0.5, 0.1), row(-1)], "open"),
        ([], "open"),
    ],
)
def test_the_rule(rows, word):
    assert verdict(rows).word == word


def test_the_median_gain_is_of_voters_alone_and_the_reason_names_losers():
    found = verdict([row(-4, -0.1), row(-4, -0.4), row(4, 0.2, kind="filter bank"), row(-9, -0.9, why="no")])
    assert math.isclose(found.median_gain, 0.1)
    assert "filter bank" in found.reason
    assert verdict([row(-4, why="no")]).median_gain is None


def images(count, seed, blotch=0.0, side=32):
    """Smooth random images (N, 3, side, side); `blotch` adds a bright square of that strength."""
    source = torch.Generator().manual_seed(seed)
    coarse = 60 * torch.randn(count, 3, 8, 8, generator=source) + 128
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    fine += 6 * torch.randn(fine.shape, generator=source)
    fine[:, :, 4:12, 4:12] += blotch
    return fine.round().clamp(0, 255).to(torch.uint8)


def toy_panel():
    real, may = images(600, 0), {"votes": True, "failed": []}
    members = []
    for kind in training_free():
        basis = fit_basis(kind.features(real))
        members.append(Member(kind, basis, {"test": basis.project(kind.features(images(400, 1)))}, may))
    return Panel("toy", (3, 32, 32), tuple(members), "")


@pytest.mark.slow
def test_less_damage_is_a_gain_in_every_kind_and_more_is_a_loss():
    many, few = images(300, 2, blotch=60), images(300, 2, blotch=20)
    better, worse = measured(toy_panel(), many, few), measured(toy_panel(), few, many)
    for gain, loss in zip(better.rows, worse.rows, strict=True):
        assert gain.votes
        assert gain.z < -3
        assert loss.z > 3
        assert math.isclose(gain.difference.value, -loss.difference.value, rel_tol=1e-9)
    assert better.verdict.word == "open"  # two kinds only
    assert better.reference == {"split": "test", "images": 400}
    assert "pixels" in str(better)
    assert better.as_dict()["rows"][0]["votes"]


@pytest.mark.slow
def test_the_body_of_the_ratio_and_kinds_that_see_nothing_have_no_vote():
    many, few = images(300, 2, blotch=60), images(300, 2, blotch=20)
    reasons = {found.kind: found.why for found in measured(toy_panel(), many, few, seen=["pixels"]).rows}
    assert reasons["pixels"] == "the ratio sees pixels"
    assert not reasons["filter bank"]
    real = measured(toy_panel(), images(300, 5), images(300, 6))
    assert all("does not tell base from real" in found.why for found in real.rows)


@pytest.mark.slow
def test_the_error_of_a_change_contains_the_noise_of_the_reference():
    """Ten times the generated images do not shrink it beyond the reference's part."""
    real = images(300, 1)
    few = measured(toy_panel(), images(300, 2, 60), images(300, 2, 20), real).rows[1].difference.error
    many = measured(toy_panel(), images(3000, 2, 60), images(3000, 2, 20), real).rows[1].difference.error
    assert few / math.sqrt(10) < 0.9 * many < few


@pytest.mark.slow
@pytest.mark.parametrize("kind", training_free(), ids=lambda kind: kind.name)
def test_both_training_free_kinds_earn_their_vote_on_images_of_classes(kind):
    # Averages over 16 pixels hardly see noise: it takes more images.
    count = 2400 if kind.name == "pixels" else 600
    classes = torch.arange(count) % 10
    real = images(count, 3)
    real = (real.float() + 8 * (classes - 5)[:, None, None, None]).clamp(0, 255).to(torch.uint8)
    found = rights(kind.features, fit_basis(kind.features(real)), real, images(count // 2, 4, blotch=40), classes)
    assert found["votes"], found


def test_a_kind_that_sees_nothing_but_one_pixel_does_not():
    def corner(pixels):
        return pixels[:, :, 0, 0].float()

    real = images(400, 3)
    found = rights(corner, fit_basis(corner(real)), real, images(200, 4, blotch=40))
    assert not found["votes"]
    assert "base" in found["failed"]


def test_damage_grows_with_its_grade():
    real = images(20, 0).float()
    for damage in (blurred, noisy):
        gone = [(damage(real.to(torch.uint8), grade).float() - real).square().mean() for grade in (0.5, 2.0, 8.0)]
        assert gone[0] < gone[1] < gone[2]


@pytest.mark.slow
def test_any_images_go_against_given_real_ones():
    real, before, after = images(600, 0, side=40), images(256, 2, 60, side=40), images(256, 2, 10, side=40)
    found = panel(before.numpy(), after, real, test_rights=False)
    assert [row.kind for row in found.rows] == ["classifier", "contrastive", "autoencoder", "filter bank", "pixels"]
    assert found.verdict.word == "open"
    assert all("not tested" in row.why for row in found.rows)
    assert found.rows[-1].z < -3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"before": torch.zeros(300, 3, 32, 32)}, "before must be uint8 images"),
        ({"before": torch.zeros(300, 32, 32, dtype=torch.uint8)}, "before must be uint8 images"),
        ({"before": images(100, 0)}, "before must hold from 256 to 10000 images for a panel; got 100"),
        ({"after": images(257, 0)}, "equally many images of one size"),
        ({}, "real images are needed"),
        ({"real": images(300, 0)}, "at least 600 real ones; got 300"),
        ({"real": images(600, 0, side=16)}, "real images are of shape"),
        ({"real": images(600, 0), "labels": [1, 2]}, "as many as the real images, 600; got 2"),
        ({"dataset": "imagenet"}, "a panel is embedded for cifar10, mnist, celeba; got 'imagenet'"),
        ({"dataset": "mnist"}, "for images of shape"),
        ({"dataset": "cifar10", "split": "train"}, "split must be one of"),
        ({"dataset": "cifar10", "encoders": {"mine": len}}, "encoders go with real images of your own"),
        ({"body": "eyes"}, "body must be one or several of classifier, contrastive, pixels, or None; got 'eyes'"),
        ({"real": images(600, 0), "encoders": {"mine": lambda rows: rows}}, "encoder 'mine' must give a finite row"),
    ],
)
@pytest.mark.slow
def test_bad_input_is_told_in_one_sentence(given, said):
    good = {"before": images(256, 0), "after": images(256, 1)}
    with pytest.raises(InputError, match=said):
        panel(**{**good, **given}, test_rights=False)


def test_a_ratio_excludes_the_kind_that_it_sees_with():
    config = {"parts": {"ratio": {"architecture": "feature-ratio", "arguments": {"body": "resnet-classifier"}}}}
    assert kinds_seen(config) == ("classifier",)
    assert kinds_seen(config, "raw") == ()
    assert kinds_seen({"parts": {"ratio": {"architecture": "ratio-network", "arguments": {}}}}) == ()
    config["parts"]["ratio"]["arguments"]["pixels"] = 8
    assert kinds_seen(config) == ("classifier", "pixels")
