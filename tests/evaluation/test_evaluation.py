"""Evaluation: what is planned, what is resumed, and what a gain's error is made of."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from scipy import stats
from zscores import LIMIT, mean_score

from ebm_refine import load
from ebm_refine.cli import main
from ebm_refine.errors import InputError
from ebm_refine.evaluation import jobs as evaluation
from ebm_refine.evaluation import tables
from ebm_refine.evaluation.sharding import Share, this_process
from ebm_refine.evaluation.truncation import truncated
from ebm_refine.metrics import features
from ebm_refine.metrics.report import compare
from ebm_refine.settings import resolve


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


def test_a_gain_has_the_spread_over_seeds_where_nothing_better_is_known():
    base, clear = tables.summarise([record(0, 10, 8), record(1, 10.2, 8.1), record(2, 9.9, 7.9)])
    assert base["frechet_distance"]["mean"] == pytest.approx((10 + 10.2 + 9.9) / 3)
    assert clear["frechet_gain"]["mean"] == pytest.approx((2 + 2.1 + 2) / 3)
    assert clear["frechet_gain"]["error"] == pytest.approx(math.sqrt(3 * (0.1 / 3) ** 2 * 2 / 2 / 3), rel=1e-6)
    assert math.isnan(tables.summarise([record(0, 10, 8)])[1]["frechet_gain"]["error"])


def test_the_noise_of_the_real_images_does_not_shrink_with_seeds():
    """s² = s²_generated / seeds + s²_reference, whatever the seeds' own spread is."""
    records = [record(seed, 10, 8) for seed in range(4)]
    for one in records:
        one["kernel_distance"]["difference"] |= {"error": 0.5, "reference_error": 0.3}
    gain = tables.summarise(records)[1]["kernel_gain"]
    assert gain["mean"] == pytest.approx(2)
    assert gain["error"] == pytest.approx(math.sqrt((0.25 - 0.09) / 4 + 0.09))
    assert gain["reference_error"] == pytest.approx(0.3)


def test_the_panel_s_word_stands_beside_the_setting_that_it_is_about():
    rows = tables.summarise([record(0, 10, 8), record(0, 10, 9, "mala")])
    about = {"method": "mala", "ratio": "raw", "options": {}, "verdict": {"word": "confirmed"}}
    results = {"rows": rows, "panel": {"rows": [about]}}
    assert [tables.verdict_of(results, row) for row in rows] == ["", "", "confirmed"]
    assert tables.verdict_of({"rows": rows}, rows[2]) == ""


def test_overlap_is_averaged_over_seeds_and_stands_in_the_table():
    rows = tables.summarise([record(0, 10, 8), record(1, 30, 12)])
    for name in ("precision", "recall", "density", "coverage"):
        assert [row[name]["mean"] for row in rows] == pytest.approx([0.2, 0.1])
        assert rows[0][name]["sd"] == pytest.approx(0.2 / math.sqrt(2))
    results = {"rows": rows, "manifold": {"num_images": 9, "neighbours": 5}, "model": "m", "title": "t", "extractor": "e",
               "sha256": "0", "num_images": 9, "seeds": [0, 1], "reference": {"split": "test", "images": 9},
               "floors": {"9": {"frechet_mean": 1.0, "kernel_mean": 0.0}}}  # fmt: skip
    table = tables.table(results)
    assert "precision, recall, density and coverage (9 features a side, k = 5) higher" in table
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    assert {len(line) for line in lines} == {14}
    assert [line[6] for line in lines] == ["precision", "---", "0.20 ± 0.14", "0.10 ± 0.03", "–"]
    # Absolute gains, their error and their percentage; base 20, gains 2 and 18.
    assert [line[4] for line in lines] == ["gain ± s.e.", "---", "–", "+10.00 ± 8.00 (+50.0%)", "–"]
    assert [line[11] for line in lines] == ["evaluations an image", "---", "0", "2.5", "–"]  # 2 gradients and half of 1 forward
    without = record(2, 10, 8)
    del without["recall"]
    assert "recall" not in tables.summarise([record(0, 10, 8), without])[0]  # a mean is over every seed or not at all


def test_plan_covers_methods_ratios_sweep_and_seeds_once(tiny_models):
    jobs = evaluation.plan(load("tiny"), ["langevin", "rejection"], 50, [0, 1], sweep={"eps": [0.1, 0.2], "n-steps": [3]})
    assert len(jobs) == 2 * 2 * 2 + 2 * 2  # rejection ignores eps, so sweeping it adds nothing
    assert {job.ratio for job in jobs} == {"raw", "calibrated"}
    assert {job.values["n_steps"] for job in jobs} == {3}
    for wrong in ({"epsilon": [1]}, {"eps": [math.nan]}):
        with pytest.raises(InputError):
            evaluation.plan(load("tiny"), ["langevin"], 50, [0], sweep=wrong)


@pytest.mark.slow
def test_evaluate_resumes_and_writes_table_and_json(tiny_models, tmp_path, capsys):
    command = ["evaluate", "--model", "tiny", "--methods", "langevin,rejection", "--num-images", "40", "--n-steps", "3",
               "--seeds", "0,1", "--out", str(tmp_path / "out")]  # fmt: skip
    assert main(command) == 0
    first = (tmp_path / "out" / "results.json").read_bytes()
    jobs = sorted((tmp_path / "out" / "jobs").iterdir())
    assert len(jobs) == 8
    jobs[0].unlink()
    unchanged = [job.stat().st_mtime_ns for job in jobs[1:]]
    assert main(command) == 0
    assert [job.stat().st_mtime_ns for job in jobs[1:]] == unchanged  # only the missing one was run again
    again = json.loads((tmp_path / "out" / "results.json").read_text())

    def timeless(rows):
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]

    assert timeless(again["rows"]) == timeless(json.loads(first)["rows"])
    assert [row["method"] for row in again["rows"]] == ["base", "langevin", "langevin", "rejection", "rejection"]
    table = capsys.readouterr().out
    assert "| base |" in table
    assert "it is not evidence of better images" in table


@pytest.mark.slow
def test_a_damaged_job_file_runs_again_with_a_message(tiny_models, tmp_path):
    checkpoint = load("tiny")
    jobs = evaluation.plan(checkpoint, ["langevin"], 40, [0], ["raw"], given={"n_steps": 2})
    first = evaluation.evaluate(checkpoint, jobs, tmp_path, progress=lambda line: None)
    files = sorted((tmp_path / "jobs").glob("*.json"))
    whole = [file.read_text() for file in files]
    for damage in ("", "[]", "{}", "NaN", whole[0][:-20], "\xff\xfe"):
        files[0].write_text(damage)
        said: list[str] = []
        again = evaluation.evaluate(checkpoint, jobs, tmp_path, progress=said.append)
        assert sum("is damaged" in line for line in said) == 1
        measured = [{name: value for name, value in row.items() if name != "seconds"} for row in again["rows"]]
        assert measured == [{name: value for name, value in row.items() if name != "seconds"} for row in first["rows"]]


@pytest.mark.slow
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
    assert "FID" not in tables.table(evaluation.evaluate(checkpoint, jobs, tmp_path, **quiet))


def test_a_budget_gives_every_method_its_steps(tiny_models):
    """20 gradient evaluations: the start and 19 steps of Langevin; half a one for each proposal; 9 forwards a step of i-SIR."""
    jobs = evaluation.plan(load("tiny"), ["langevin", "rejection", "i-sir"], 50, [0], ["raw"], budget=20.0)
    assert [job.n_steps for job in jobs] == [19, 40, 4]
    for wrong in ({"given": {"n_steps": 3}}, {"sweep": {"n-steps": [3]}}):
        with pytest.raises(InputError, match="either a budget or n_steps"):
            evaluation.plan(load("tiny"), ["langevin"], 50, [0], budget=20.0, **wrong)
    with pytest.raises(InputError, match="does not pay for one step of 'tempering', which needs 6"):
        evaluation.plan(load("tiny"), ["tempering"], 50, [0], budget=5.0)


@pytest.mark.slow
def test_a_run_spends_no_more_than_its_budget(tiny_models, tmp_path):
    jobs = evaluation.plan(load("tiny"), ["mala", "rejection", "ex2mcmc"], 40, [0], ["raw"], budget=12.0)
    results = evaluation.evaluate(load("tiny"), jobs, tmp_path, progress=lambda line: None)
    spent = [tables.evaluations_per_image(row) for row in results["rows"]]
    assert spent[:2] == [0, 12]
    assert 0 < spent[2] <= 12  # rejection stops at its first acceptance
    assert 5 < spent[3] <= 12


@pytest.mark.slow
def test_controls_reproduce_base_and_truncate_the_prior(tiny_models, tmp_path):
    checkpoint = load("tiny")
    jobs = evaluation.controls(checkpoint, 40, [0, 1], budget=6.0, thresholds=(0.5, 10.0))
    results = evaluation.evaluate(checkpoint, jobs, tmp_path, progress=lambda line: None)
    base, still, narrow, wide, best = results["rows"]
    assert (best["method"], best["options"], best["forwards_per_image"]) == ("best-of", {"tries": 12}, 12)
    assert best["mean_ratio_after"] > best["mean_ratio_before"]
    assert (still["method"], still["beta"], still["n_steps"]) == ("mala", 0.0, 5)
    assert [row["options"]["threshold"] for row in (narrow, wide)] == [0.5, 10.0]
    # All but the whole prior is left: the same images to the last bit or so.
    assert wide["frechet_distance"]["mean"] == pytest.approx(base["frechet_distance"]["mean"], rel=1e-3)
    assert narrow["frechet_distance"]["mean"] != pytest.approx(base["frechet_distance"]["mean"], rel=1e-2)
    text = (tmp_path / "table.md").read_text()
    assert "| truncation | – | threshold 0.5 |" in text
    assert "beta 0 |" in text


def test_truncation_is_the_normal_law_cut_off():
    """Mean 0 and the truncated normal's variance, |z| < 4.5; monotone, and in the limits the identity and the bounds."""
    normal = torch.randn(50_000, 2, generator=torch.Generator().manual_seed(0))
    for threshold in (0.5, 2.0):
        cut = truncated(normal, threshold)
        assert float(cut.abs().max()) <= threshold
        variance = stats.truncnorm(-threshold, threshold).var()
        assert abs(mean_score(cut.flatten(), 0.0)) < LIMIT
        assert abs(mean_score(cut.flatten().square(), variance)) < LIMIT
        assert (cut[normal[:, 0].argsort(), 0].diff() >= 0).all()
    assert torch.allclose(truncated(normal, 10.0), normal, atol=1e-4)
    far = truncated(torch.tensor([[-40.0, 40.0]]), 1.0)
    assert far.tolist() == [[-1.0, 1.0]]
    for wrong in (0.0, math.nan, 11.0):
        with pytest.raises(InputError, match="threshold must be"):
            truncated(normal, wrong)


def test_clearly_lower_shares_are_marked_and_base_comes_first():
    worse = [record(seed, 10 + seed, 11 + seed) for seed in range(3)]
    for one in worse:
        one["precision"] = {"before": 0.9, "after": 0.8 + one["settings"]["seed"] / 1000}
    better = [record(seed, 10 + seed, 9 + seed, "mala") for seed in range(3)]
    rows = tables.summarise([*worse, *better])
    assert tables._measure("precision", rows[1]).endswith("↓")
    assert tables._measure("recall", rows[2]).endswith("↓")  # a tenth lower in every seed, as its distances are
    assert not tables._measure("recall", rows[1]).endswith("↓")
    assert [row["method"] for row in tables.ranked(rows)] == ["base", "mala", "langevin"]
    away = [record(0, 10, math.inf, "dot")]
    assert tables.ranked(tables.summarise([*away, *better]))[-1]["method"] == "dot"


@pytest.mark.slow
def test_classes_of_the_extractor_count_as_modes(tiny_models):
    """Present is a class with a tenth of an equal share: at 1,000 images and ten classes, ten of them."""
    extractor = features.features_for("cifar10")
    images = torch.randint(0, 256, (1000, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = extractor.classes(extractor(images)).bincount(minlength=10)
    modes = compare(images, images[:1].expand(1000, -1, -1, -1), extractor)["modes"]
    assert modes == {"before": int((found >= 10).sum()), "after": 1, "of": 10}


def test_shares_are_disjoint_and_whole():
    jobs = list(range(11))
    parts = [Share(index, 3).of(jobs) for index in range(3)]
    assert sorted(job for part in parts for job in part) == jobs
    assert Share().of(jobs) == jobs


@pytest.mark.slow
def test_two_processes_of_accelerate_share_one_list(tiny_models, tmp_path):
    """No job is lost or run twice, each process has run some, and the results are those of one process."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, torch\n"
        "from pathlib import Path\n"
        "torch.set_num_threads(1)\n"
        "from ebm_refine import catalogue\n"
        "from ebm_refine.evaluation import jobs as evaluation\n"
        "catalogue.EMBEDDED = Path(sys.argv[1])\n"
        "run = evaluation._run\n"
        "def noted(checkpoint, job, *rest):\n"
        "    with open(Path(sys.argv[2]) / ('ran-' + os.environ['RANK']), 'a') as log:\n"
        "        log.write(f'{job.method} {job.ratio} {job.seed}\\n')\n"
        "    return run(checkpoint, job, *rest)\n"
        "evaluation._run = noted\n"
        "from ebm_refine.cli import main\n"
        "sys.exit(main(sys.argv[3:]))\n"
    )
    command = ["evaluate", "--model", "tiny", "--methods", "langevin,rejection", "--num-images", "40", "--n-steps", "2",
               "--seeds", "0,1", "--out"]  # fmt: skip
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]  # fmt: skip
    done = subprocess.run(
        [*launch, str(program), str(tiny_models), str(tmp_path), *command, str(tmp_path / "shared")],
        # No GPU: two processes would want two of them.
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parts = [(tmp_path / f"ran-{rank}").read_text().splitlines() for rank in range(2)]
    every = [
        f"{job.method} {job.ratio} {job.seed}" for job in evaluation.plan(load("tiny"), ["langevin", "rejection"], 40, [0, 1])
    ]
    assert parts == [every[0::2], every[1::2]]
    assert len(list((tmp_path / "shared" / "jobs").glob("*.json"))) == len(every) == 8
    assert done.stdout.count("| base |") == 1  # one process speaks for all

    assert main([*command, str(tmp_path / "alone")]) == 0
    shared, alone = (json.loads((tmp_path / name / "results.json").read_text())["rows"] for name in ("shared", "alone"))
    for one, other in zip(shared, alone, strict=True):
        assert {"settings": one["method"], **one["kernel_distance"]} == {
            "settings": other["method"],
            **other["kernel_distance"],
        }
        # The root of a product of covariances is not the same to the last bit in every process.
        assert one["frechet_distance"]["mean"] == pytest.approx(other["frechet_distance"]["mean"], abs=2e-3)


def test_without_accelerate_a_shared_start_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"pip install 'ebm-refine\[shard\]'"):
        this_process()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert this_process() == Share(0, 1, None)


def test_evaluate_refuses_what_cannot_be_measured(tiny_models, tmp_path, capsys):
    def failing(*flags: str) -> str:
        assert main(["evaluate", "--model", "tiny", "--methods", "langevin", "--out", str(tmp_path / "out"), *flags]) == 2
        return capsys.readouterr().err

    assert "num_images must be at least 40" in failing("--num-images", "39")
    assert "split must be one of" in failing("--num-images", "40", "--split", "train")
    assert "--sweep takes" in failing("--sweep", "eps")
    assert "budget must be a number from 1 to 100000" in failing("--budget", "0")
    assert "seed must be" in failing("--seeds", "0,x")


def test_p_values_of_several_seeds_are_corrected_for_their_number():
    """Bonferroni: the smallest of three, times three; never above 1."""
    records = [{**record(seed, 10, 8), "weights_p": {"before": 0.9, "after": p}} for seed, p in enumerate((0.2, 0.01, 0.5))]
    base, row = tables.summarise(records)
    assert row["weights_p"] == pytest.approx(0.03)
    assert base["weights_p"] == 1.0


@pytest.mark.parametrize("changed", ["weights", "calibration", "isotonic", "critic_slope", "tables", "settings", "evaluator"])
def test_a_job_is_computed_anew_when_what_it_depends_on_has_changed(tiny_models, changed):
    """Its file's name changes with the hashes of the weights, with whatever makes a ratio of them, settings and evaluator."""
    checkpoint = load("tiny")
    execution, evaluator = evaluation._Execution("cpu", "fp32"), SimpleNamespace(fingerprint="a")
    job = resolve("tiny", checkpoint.config, method="langevin", n_steps=2)
    before = evaluation._key(job, checkpoint, evaluator, execution)
    assert before == evaluation._key(job, load("tiny"), SimpleNamespace(fingerprint="a"), execution)
    if changed == "weights":
        part = next(iter(checkpoint.config["parts"].values()))
        part["sha256"] = "0" * 64
    elif changed == "settings":
        job = resolve("tiny", checkpoint.config, method="langevin", n_steps=3)
    elif changed == "evaluator":
        evaluator.fingerprint = "b"
    else:
        checkpoint.config[changed] = {"slope": 1.25, "intercept": 0.5}
    assert evaluation._key(job, checkpoint, evaluator, execution) != before
