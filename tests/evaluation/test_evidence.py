"""An evaluation's panel: features are stored beside the records, judged over all seeds, and shown in the table."""

import json
import re

import pytest
import torch

from ebm_refine import load
from ebm_refine.errors import InputError
from ebm_refine.evaluation.evidence import Evidence, panel_table
from ebm_refine.metrics.panel import measured
from ebm_refine.metrics.panel_store import embedded_panel

SETTINGS = {"method": "langevin", "model": "mnist-gan", "num_images": 150, "ratio": "refitted", "eps": 0.1, "n_steps": 5}


def digits(seed, count=150):
    return torch.randint(0, 256, (count, 1, 28, 28), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.fixture
def judged(tmp_path):
    evidence = Evidence(load("mnist-gan"), "test")
    files = [tmp_path / f"{seed}.json" for seed in (0, 1)]
    for seed, file in enumerate(files):
        evidence.keep(digits(seed), digits(10 + seed) // 2, file)
    return evidence.rows([{"settings": {**SETTINGS, "seed": seed}} for seed in (0, 1)], files)


@pytest.mark.slow
def test_seeds_of_a_setting_are_one_set_of_images(judged):
    (row,) = judged["rows"]
    panel = embedded_panel("mnist")
    before, after = (torch.cat([part, more]) for part, more in ((digits(0), digits(1)), (digits(10) // 2, digits(11) // 2)))
    direct = measured(panel, before, after, seen=["classifier"])
    assert row["images"] == 300
    assert row["body"] == "classifier"
    assert row["verdict"]["word"] == direct.verdict.word
    for stored, made in zip(row["rows"], direct.rows, strict=True):
        assert stored["difference"]["value"] == pytest.approx(made.difference.value)
    json.dumps(judged)


@pytest.mark.slow
def test_the_table_names_kinds_votes_and_the_verdict(judged):
    text = panel_table(judged)
    head, _, base, method = text.splitlines()[:4]
    kinds = "classifier | contrastive | autoencoder | filter bank | pixels"
    assert head == f"| method | setting | evaluations | {kinds} | median change | verdict |"
    assert base.startswith("| base | – |")
    assert re.search(r"\| \[[+-]\d+% \([+-][\d.]+\)\] \|", method)  # the classifier has no vote
    assert "**" in method
    assert "classifier: the ratio sees with a network of this kind" in text


def test_too_few_images_and_data_without_a_panel_are_errors(tmp_path):
    evidence = Evidence(load("mnist-gan"), "test")
    evidence.keep(digits(0), digits(1), tmp_path / "0.json")
    with pytest.raises(InputError, match="at least 256 images over all seeds; got 150"):
        evidence.rows([{"settings": {**SETTINGS, "seed": 0}}], [tmp_path / "0.json"])
    with pytest.raises(InputError, match="there is a panel for cifar10, mnist, celeba; 'toy-moons-gan' is of 'moons'"):
        Evidence(load("toy-moons-gan"), "test")


@pytest.mark.slow
def test_shares_of_faces_stand_below_the_table(judged):
    (row,) = judged["rows"]
    found = {"before": 0.5, "after": 0.75, "real": 0.9}
    text = panel_table({**judged, "rows": [{**row, "faces": found}]})
    assert text.endswith("Share of images in which a face is found: base 50.0%, langevin 75.0%, real images 90.0%.\n")
    assert "face" not in panel_table({**judged, "rows": [{**row, "faces": {"note": "no OpenCV"}}]})
