"""Evaluation: what is planned, what is resumed, and when a gain is called beyond the spread."""

import json
import math

import pytest

from ebm_refine import evaluation, load
from ebm_refine.cli import main
from ebm_refine.errors import InputError


def record(seed: int, before: float, after: float, method: str = "langevin") -> dict:
    return {
        "settings": {"model": "m", "method": method, "seed": seed, "ratio": "raw", "num_images": 9, "options": {}},
        "frechet_distance": {"before": before, "after": after},
        "manifold": {"num_images": 9, "neighbours": 5},
        **{name: {"before": before / 100, "after": after / 100} for name in ("precision", "recall", "density", "coverage")},
        "kernel_distance": {"before": {"value": before}, "after": {"value": after}, "difference": {"value": after - before}},
        "diagnostics": {
            "mean_ratio_before": 0.0, "mean_ratio_after": 1.0, "forwards_per_image": 3, "gradients_per_image": 2,
            "accepted_share": 1.0, "nonfinite_proposals": 0,
        },
        "seconds": 1.0,
    }  # fmt: skip


def test_beyond_spread_needs_every_seed_and_three_standard_errors():
    base, clear = evaluation.summarise([record(0, 10, 8), record(1, 10.2, 8.1), record(2, 9.9, 7.9)])
    assert base["frechet_distance"]["mean"] == pytest.approx((10 + 10.2 + 9.9) / 3)
    assert clear["frechet_gain"]["mean"] == pytest.approx((2 + 2.1 + 2) / 3)
    assert clear["frechet_gain"]["error"] == pytest.approx(math.sqrt(3 * (0.1 / 3) ** 2 * 2 / 2 / 3), rel=1e-6)
    assert clear["frechet_gain"]["beyond_spread"]
    assert clear["kernel_gain"]["beyond_spread"]
    one_worse = evaluation.summarise([record(0, 10, 8), record(1, 10, 8), record(2, 10, 10.01)])[1]
    assert not one_worse["frechet_gain"]["beyond_spread"]
    scattered = evaluation.summarise([record(0, 10, 9.9), record(1, 10, 6), record(2, 10, 9.5)])[1]
    assert not scattered["frechet_gain"]["beyond_spread"]
    single = evaluation.summarise([record(0, 10, 8)])[1]
    assert not single["frechet_gain"]["beyond_spread"]  # one seed has no spread to be beyond


def test_overlap_is_averaged_over_seeds_and_stands_in_the_table():
    rows = evaluation.summarise([record(0, 10, 8), record(1, 30, 12)])
    for name in ("precision", "recall", "density", "coverage"):
        assert [row[name]["mean"] for row in rows] == pytest.approx([0.2, 0.1])
        assert rows[0][name]["sd"] == pytest.approx(0.2 / math.sqrt(2))
    results = {"rows": rows, "manifold": {"num_images": 9, "neighbours": 5}, "model": "m", "title": "t", "extractor": "e",
               "sha256": "0", "num_images": 9, "seeds": [0, 1], "reference": {"split": "test", "images": 9},
               "floors": {"9": {"frechet_mean": 1.0, "kernel_mean": 0.0}}}  # fmt: skip
    table = evaluation.table(results)
    assert "precision and recall (9 features a side, k = 5) higher" in table
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert {len(line) for line in lines} == {12}
    assert [line[6] for line in lines] == ["precision", "---", "0.20 ± 0.14", "0.10 ± 0.03", "–"]
    without = record(2, 10, 8)
    del without["recall"]
    assert "recall" not in evaluation.summarise([record(0, 10, 8), without])[0]  # a mean is over every seed or not at all


def test_plan_covers_methods_ratios_sweep_and_seeds_once(tiny_models):
    jobs = evaluation.plan(load("tiny"), ["langevin", "rejection"], 50, [0, 1], sweep={"eps": [0.1, 0.2], "n-steps": [3]})
    assert len(jobs) == 2 * 2 * 2 + 2 * 2  # rejection ignores eps, so sweeping it adds nothing
    assert {job.ratio for job in jobs} == {"raw", "calibrated"}
    assert {job.values["n_steps"] for job in jobs} == {3}
    for wrong in ({"epsilon": [1]}, {"eps": [math.nan]}):
        with pytest.raises(InputError):
            evaluation.plan(load("tiny"), ["langevin"], 50, [0], sweep=wrong)


def test_evaluate_resumes_and_writes_table_and_json(tiny_models, tmp_path, capsys):
    command = ["evaluate", "--model", "tiny", "--methods", "langevin,rejection", "--num-images", "40", "--n-steps", "3",
               "--seeds", "0,1", "--out", str(tmp_path / "out")]  # fmt: skip
    assert main(command) == 0
    first = (tmp_path / "out" / "results.json").read_bytes()
    jobs = sorted((tmp_path / "out" / "jobs").iterdir())
    assert len(jobs) == 8
    jobs[0].unlink()
    kept = [job.stat().st_mtime_ns for job in jobs[1:]]
    assert main(command) == 0
    assert [job.stat().st_mtime_ns for job in jobs[1:]] == kept  # only the missing one was run again
    again = json.loads((tmp_path / "out" / "results.json").read_text())

    def timeless(rows):
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]

    assert timeless(again["rows"]) == timeless(json.loads(first)["rows"])
    assert [row["method"] for row in again["rows"]] == ["base", "langevin", "langevin", "rejection", "rejection"]
    table = capsys.readouterr().out
    assert "| base |" in table
    assert "it is not evidence of better images" in table


def test_fid_is_taken_beside_the_other_distances_when_asked_for(tiny_models, tmp_path):
    checkpoint = load("tiny")
    jobs = evaluation.plan(checkpoint, ["langevin"], 40, [0, 1], ["raw"], given={"n_steps": 2})
    seen = []

    def fid(images):
        seen.append(images.shape)
        return float(len(seen))

    quiet = {"progress": lambda line: None}
    results = evaluation.evaluate(checkpoint, jobs, tmp_path, fid=fid, **quiet)
    assert seen == [(40, 3, 32, 32)] * 4
    assert results["rows"][0]["fid"]["mean"] == 2.0  # calls 1 and 3 were the starts
    assert results["rows"][1]["fid"]["mean"] == 3.0
    assert "FID (Inception-v3" in (tmp_path / "table.md").read_text()
    assert "FID" not in evaluation.table(evaluation.evaluate(checkpoint, jobs, tmp_path, **quiet))


def test_evaluate_refuses_what_cannot_be_measured(tiny_models, tmp_path, capsys):
    def failing(*flags: str) -> str:
        assert main(["evaluate", "--model", "tiny", "--methods", "langevin", "--out", str(tmp_path / "out"), *flags]) == 2
        return capsys.readouterr().err

    assert "num_images must be at least 40" in failing("--num-images", "39")
    assert "split must be one of" in failing("--num-images", "40", "--split", "train")
    assert "--sweep takes" in failing("--sweep", "eps")
    assert "seed must be" in failing("--seeds", "0,x")
