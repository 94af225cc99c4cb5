"""Training without labels: the loss in closed form, crops and their spoiling, near-duplicates, the encoder, and resuming."""

import math

import pytest
import torch

from ebm_refine.metrics.features import FeatureExtractor
from ebm_refine.models.networks.encoder import ContrastiveEncoder
from ebm_refine.training.algorithms import simclr as contrastive
from ebm_refine.training.algorithms.simclr import ContrastiveRecipe, nt_xent, random_crops, spoil, train_encoder
from ebm_refine.training.common import updates
from ebm_refine.training.common.duplicates import near_duplicates
from ebm_refine.training.common.resumable import Run

WIDTHS = (4, 4, 6, 8, 5)
TINY = ContrastiveRecipe(steps=4, batch_size=6, crop=16, projection=8, save_every=2)


def faces(count: int, seed: int = 0, side: int = 32) -> torch.Tensor:
    """Smooth random images, uint8."""
    source = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=source)
    return (255 * torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")).to(torch.uint8)


def test_loss_in_closed_form():
    # All alike: every one of the 2B - 1 + M candidates is as likely as the partner.
    loss, _ = nt_xent(torch.ones(6, 3), torch.ones(4, 3), 0.3)
    assert float(loss) == pytest.approx(math.log(5 + 4), rel=1e-5)
    # Partners alike, all others at right angles: cross-entropy of exp(1/t) among 1s.
    rows = torch.eye(4)[[0, 1, 0, 1]]
    loss, accuracy = nt_xent(3 * rows, torch.eye(4)[2:], 0.5)
    assert float(loss) == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 2 + 2)), rel=1e-5)
    assert float(accuracy) == 1
    # A spoiled crop that looks like the image is taken for its partner's rival.
    assert float(nt_xent(3 * rows, torch.eye(4)[:2], 0.5)[0]) > float(loss)


def test_crops_are_parts_of_their_own_image_some_of_them_mirrored():
    torch.manual_seed(0)
    images = torch.arange(40 * 64).view(40, 1, 8, 8).float()
    crops = random_crops(images, 5)
    mirrored = 0
    for image, crop in zip(images, crops, strict=True):
        windows = image.unfold(1, 5, 1).unfold(2, 5, 1).reshape(-1, 5, 5)
        plain, turned = ((windows == one).all((1, 2)).any() for one in (crop[0], crop[0].flip(1)))
        assert bool(plain) != bool(turned)
        mirrored += bool(turned)
    assert 8 < mirrored < 32  # of 40, p = 1/2: outside with probability 1e-4


def test_spoiled_crops_keep_their_colours_but_not_their_face():
    torch.manual_seed(0)
    crops = torch.rand(9, 3, 16, 16) * 2 - 1
    spoiled = spoil(crops)
    assert not any(torch.equal(one, other) for one, other in zip(spoiled, crops, strict=True))
    for swapped, crop in zip(spoiled[0::3], crops[0::3], strict=True):
        assert torch.equal(swapped.flatten(1).sort().values, crop.flatten(1).sort().values)
    assert torch.equal(spoiled[4][..., :8], crops[4][..., :8])
    assert torch.equal(spoiled[4][..., 8:], crops[1][..., 8:])
    still = contrastive.bent(crops, reach=0.0)
    assert torch.allclose(still, crops, atol=1e-5)
    assert spoiled.abs().max() <= 1


def test_near_duplicates_are_found_through_a_shift_and_no_others():
    known = faces(20, seed=1, side=64)
    moved = known[:3].roll((2, -4), (2, 3))
    found = near_duplicates(torch.cat([faces(10, seed=2, side=64), moved]), known)
    assert found.tolist() == [False] * 10 + [True] * 3


def test_features_are_standardised_on_whole_images(tmp_path):
    torch.manual_seed(0)
    encoder = ContrastiveEncoder(widths=WIDTHS)
    train = faces(24)
    measured = train_encoder(encoder, TINY, train, Run(tmp_path / "a", resume=False), 0, "cpu")
    assert math.isfinite(measured["loss"])
    assert not encoder.training
    with torch.no_grad():
        features = encoder.features(contrastive.to_unit(train))
    assert features.shape == (24, 5)
    assert torch.allclose(features.mean(0), torch.zeros(5), atol=0.2)
    assert torch.allclose(features.var(0), torch.ones(5), atol=0.3)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path):
    def trained(folder: str, *parts: int) -> dict:
        for steps in parts:
            torch.manual_seed(0)
            encoder = ContrastiveEncoder(widths=WIDTHS)
            # The schedule is that of the whole run; the first sitting is cut after two steps.
            with pytest.MonkeyPatch.context() as patch:
                if steps < TINY.steps:
                    patch.setattr(updates, "tqdm", lambda numbers, steps=steps, **_: (k for k in numbers if k < steps))
                train_encoder(encoder, TINY, faces(24), Run(tmp_path / folder, resume=True), 0, "cpu")
        return encoder.state_dict()

    whole, resumed = trained("whole", 4), trained("cut", 2, 4)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_an_extractor_takes_the_encoder(tmp_path):
    from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
    from ebm_refine.training.pipelines.evaluator_training import reference_table

    arguments = {"widths": list(WIDTHS)}
    config = {"kind": "features", "data": {"shape": [3, 32, 32], "range": [-1, 1], "dataset": "celeba"}, "training": {}}
    part = {"features": Part("contrastive-encoder", arguments, ContrastiveEncoder(**arguments).eval())}
    save_checkpoint(tmp_path / "celeba-features", config, part, "")
    extractor = FeatureExtractor(load_checkpoint(tmp_path / "celeba-features"))
    features = extractor(faces(7))
    assert features.shape == (7, 5)
    assert reference_table(features)["images"] == 7


def test_compare_leaves_classes_out_where_the_extractor_has_none(tmp_path):
    from ebm_refine.metrics.report import compare
    from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
    from ebm_refine.training.pipelines.evaluator_training import reference_table

    arguments = {"widths": list(WIDTHS)}
    config = {"kind": "features", "data": {"shape": [3, 16, 16], "range": [-1, 1], "dataset": "celeba"}, "training": {}}
    part = {"features": Part("contrastive-encoder", arguments, ContrastiveEncoder(**arguments).eval())}
    folder = tmp_path / "celeba-features"
    save_checkpoint(folder, config, part, "")
    real = faces(1000, side=16)
    features = FeatureExtractor(load_checkpoint(folder))(real)
    save_checkpoint(folder, config, part, "", {"reference-test": reference_table(features)})
    report = compare(real, real, FeatureExtractor(load_checkpoint(folder)))
    assert "modes" not in report
    assert report["precision"]["after"] == 1
    assert report["frechet_distance"]["after"] == pytest.approx(0, abs=1e-3)
