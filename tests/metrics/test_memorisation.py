"""Is an image a copy: nearest training images, percentiles among held-out ones, and what the page says of a tile."""

import pytest
import torch
from conftest import save_tiny_models

from ebm_refine import catalogue, refine
from ebm_refine.errors import InputError
from ebm_refine.metrics import features
from ebm_refine.metrics.features import FeatureExtractor
from ebm_refine.metrics.memorisation import INDEX, index_table, nearest, nearest_training_image
from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
from ebm_refine.ui.tabs.refine import memorisation_panel as copies
from ebm_refine.ui.tabs.refine import pictures as viewing


def with_index(folder, train: torch.Tensor, holdout: torch.Tensor):
    """The tiny features with an index of the images `train`."""
    checkpoint = load_checkpoint(folder / "cifar10-features")
    extractor = FeatureExtractor(checkpoint)
    part = checkpoint.config["parts"]["features"]
    parts = {"features": Part(part["architecture"], part["arguments"], checkpoint.networks["features"])}
    tables = {**checkpoint.tables, INDEX: index_table(extractor(train), extractor(holdout))}
    config = {name: value for name, value in checkpoint.config.items() if name not in ("format", "parts", "tables")}
    save_checkpoint(folder / "cifar10-features", config, parts, "", tables)
    features.features_for.cache_clear()
    return FeatureExtractor(load_checkpoint(folder / "cifar10-features"))


def pixels(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_nearest_in_closed_form():
    known = torch.tensor([[0.0, 0.0], [3.0, 4.0], [10.0, 0.0]])
    distances, rows = nearest(torch.tensor([[3.0, 0.0], [9.0, 0.0]]), known)
    assert distances.tolist() == [3, 1]
    assert rows.tolist() == [0, 2]


def test_the_index_takes_a_byte_a_number_and_its_distances_are_sorted():
    torch.manual_seed(0)
    train, holdout = torch.randn(300, 16), torch.randn(90, 16)
    table = index_table(train, holdout)
    assert table["features"].dtype == torch.int8
    exact, _ = nearest(holdout, train)
    assert torch.allclose(table["holdout_distances"], exact.sort().values, atol=0.1)
    assert bool((table["holdout_distances"].diff() >= 0).all())
    assert (table["features"].float() * table["scale"] - train).abs().max() <= table["scale"] / 2 + 1e-6


@pytest.mark.slow
def test_a_copy_is_nearer_than_any_held_out_image(tmp_path):
    folder = save_tiny_models(tmp_path / "embedded")
    train, holdout = pixels(50, 5), pixels(40, 6)
    extractor = with_index(folder, train, holdout)
    copy = nearest_training_image(train[17], extractor)
    assert (copy.row, copy.percentile, copy.held_out) == (17, 0.0, 40)
    # A held-out image has the rank that it has among the held-out.
    ranks = [nearest_training_image(image, extractor).percentile for image in holdout]
    assert sorted(ranks) == pytest.approx([100 * k / 40 for k in range(40)], abs=1e-4)
    far = nearest_training_image(torch.zeros(3, 32, 32, dtype=torch.uint8), extractor)
    assert far.percentile == 100


def test_without_an_index_nothing_is_said(tiny_models):
    extractor = features.features_for("cifar10")
    with pytest.raises(InputError, match="holds no index of training images"):
        nearest_training_image(pixels(1, 0)[0], extractor)


@pytest.fixture
def record(tmp_path, monkeypatch):
    """A finished run of `tiny` on the page, with an index in which its image 1 is a training image."""
    from ebm_refine.ui.tabs.refine.job import Finished, run

    folder = save_tiny_models(tmp_path / "embedded")
    monkeypatch.setattr(catalogue, "EMBEDDED", folder)
    made = refine("tiny", num_images=6, n_steps=2)
    with_index(folder, torch.cat([made.after[1:2], pixels(30, 5)]), pixels(40, 6))
    (end,) = [item for item in run("tiny", {"num_images": 6, "n_steps": 2}) if isinstance(item, Finished)]
    yield end.record
    features.features_for.cache_clear()


@pytest.mark.slow
def test_the_page_tells_a_copy(record):
    said = copies.as_html(record, 1, None)
    assert "number 0, at distance 0.0" in said
    assert "it may be a copy" in said
    assert "<img" not in said  # no training image without the data
    wrong = copies.as_html(record, 1, "/nowhere")
    assert "data folder" in wrong or "must be an existing folder" in wrong


@pytest.mark.slow
def test_the_neighbour_is_shown_where_the_data_is_given(record, monkeypatch):
    from ebm_refine.data import images as data

    asked = []
    monkeypatch.setattr(data, "training_image", lambda *which: asked.append(which) or pixels(1, 9)[0])
    assert "<img class='copies'" in copies.as_html(record, 1, "folder")
    assert asked == [("cifar10", "folder", 0)]
    monkeypatch.setattr(data, "training_image", lambda *which: torch.zeros(3, 8, 8, dtype=torch.uint8))
    assert "another size" in copies.as_html(record, 1, "folder")


def test_best_and_worst_are_those_of_highest_and_lowest_ratio(record):
    picture = viewing.extremes(record)
    order = record.ratio_after.argsort(descending=True).tolist()
    one = viewing.render.captioned(record.after[order], [f"{float(record.ratio_after[k]):+.2f}" for k in order], 5, 3)
    assert picture.size == one.size
    assert picture.tobytes() == one.tobytes()


def test_the_app_refuses_a_folder_without_data(tmp_path, capsys):
    from ebm_refine.ui import options

    assert options([]) == {"data": None}
    with pytest.raises(SystemExit) as stopped:
        options(["--data", str(tmp_path)])
    assert stopped.value.code == 2
    assert "--data must be a folder that holds train-*.parquet" in capsys.readouterr().err
