"""The grid search as it is shown: what its report makes of trials, and the part of the page that reads it, without Optuna."""

import json
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image

from ebm_refine.evaluation import tables
from ebm_refine.training.grid_search.search_space import FAMILIES, SPACE, random_subset
from ebm_refine.ui.tabs.energy_gans import grid_search as study

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import digit_tables  # noqa: E402
import grid_search as benchmark  # noqa: E402


def trial(place, setting, score):
    histogram = [score > 1] * 10
    return {
        "place": place, **setting._asdict(), "score": score, "reversed_score": 2 * score, "mean_confidence": 0.5,
        "histogram": histogram, "parameters": 1000, "seconds": 2.0, "cpu_seconds": 1.0,
    }  # fmt: skip


ROWS = [trial(place, setting, (place % 24) / 10) for place, setting in enumerate(random_subset(20, 0))]


def test_the_report_counts_every_trial_once():
    found = benchmark.summed(ROWS)
    assert [sum(found["histograms"]["5"][family]) for family in FAMILIES] == [20, 20, 20]
    assert list(found["histograms"]) == ["5", "4", "3"]
    for most, histograms in found["histograms"].items():
        for family, counts in histograms.items():
            few = [row for row in ROWS if row["family"] == family and max(row["layers_g"], row["layers_d"]) <= int(most)]
            assert sum(counts) == len(few)
    assert [row["place"] for row in found["rows"]] == list(range(60))


def test_bins_hold_what_they_say():
    assert benchmark.histogram([0.0, 0.19, 0.21, 2.3]) == [2, 1, *[0] * 9, 1]
    assert benchmark.histogram([-1e-12, 99.0]) == [1, *[0] * 10, 1]


def test_best_and_median_are_trials_that_there_were():
    for count, median in ((1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0), (5, 2.0)):
        rows = [{**row, "score": float(place), "classes": 1} for place, row in enumerate(ROWS[:count])]
        summary = benchmark.summary(rows[::-1])
        assert summary["best"]["score"] == count - 1
        assert summary["median"]["score"] == median
        assert summary["trials"] == count


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """Results as the report writes them, in the place of the committed ones."""
    results = {
        "command": "python -m ebm_refine search --trials 20", "seed": 0, "batches": 200, "batch_size": 128, "num_images": 1000,
        "extractor": "mnist-features", "sha256": "ab" * 32, "machine": "a processor", "torch": "2", "queued": 63, "done": 60,
        "settings": {"gan": 6144, "ebgan": 512, "ebgan-pt": 512},
        "real": {"num_images": 1000, "score": 2.28, "reversed_score": 8.5}, **benchmark.summed(ROWS),
    }  # fmt: skip
    (tmp_path / "grid-search.json").write_text(benchmark.written(results))
    for family in FAMILIES:
        for which in ("best", "median"):
            Image.new("L", (30, 30)).save(tmp_path / f"grid-search-{family}-{which}.png")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    return json.loads((tmp_path / "grid-search.json").read_text())


def test_the_part_shows_histograms_digits_and_trials(committed):
    assert study.present()
    with gr.Blocks() as demo:
        study.build()
    components = {block["props"].get("elem_id"): block["props"] for block in demo.config["components"]}
    words = components["study-words"]["value"]
    for said in (
        "reduced",
        "60 of 63 settings",
        "200 batches of 128",
        "1,000 generated",
        "6,144 of a GAN",
        "seed 0",
        "2.280",
        "8.50",
    ):
        assert said in words
    assert {f"study-{family}-{which}" for family in FAMILIES for which in ("best", "median")} <= components.keys()
    rows = study.trials(committed)
    scores = [row[list(study.COLUMNS).index("score")] for row in rows]
    assert len(rows) == 60
    assert scores == sorted(scores, reverse=True)
    assert components["study-trials"]["value"].count("<tr>") == 61


def test_the_histograms_follow_the_choice(committed):
    every, few = (study.histograms_html(committed, most) for most in ("5", "3"))
    assert "GAN, 20 trials" in every
    count = sum(committed["histograms"]["3"]["gan"])
    assert f"GAN, {count} trial" in few
    assert few != every
    assert every.count("<tr>") == 13
    assert "width:100.0%" in every


def test_without_results_there_is_no_part(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "none")
    assert not study.present()


def test_the_readmes_table_says_budget_and_counts(committed):
    made = digit_tables.grid_search(committed)
    for said in (
        "60 of 63 queued trials",
        "reduced budget",
        "200 batches of 128",
        "6,144 of GAN",
        "Real test digits, 1,000: 2.280 and 8.50",
    ):
        assert said in made


def test_families_are_named_as_they_are_searched():
    assert list(study.FAMILIES) == list(FAMILIES) == list(SPACE)


@pytest.mark.slow
def test_the_page_imports_no_optuna():
    code = "import sys, ebm_refine.ui, ebm_refine.ui.tabs.energy_gans.grid_search; assert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
