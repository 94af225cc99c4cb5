"""benchmarks/table.py: what a screen and a final run, that all pay the same, what is chosen, and that it stops and goes on."""

import json
import sys
from pathlib import Path

import pytest

from ebm_refine import load
from ebm_refine.errors import InputError
from ebm_refine.evaluation import tables
from ebm_refine.evaluation.best_of import BestOf
from ebm_refine.evaluation.truncation import Truncation
from ebm_refine.models.checkpoint import load_checkpoint, save_checkpoint
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.cost import evaluations
from ebm_refine.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import table as benchmark
from conftest import tiny_pair_config, tiny_pair_parts

PAIR_METHODS = {name for name, method in METHODS.items() if "pair" in method.kinds}


@pytest.fixture
def refitted(tmp_path):
    """A tiny pair that carries all three ratios."""
    parts = tiny_pair_parts()
    parts["ratio"] = tiny_pair_parts(seed=1)["discriminator"]
    save_checkpoint(tmp_path / "refitted", tiny_pair_config(), parts, "")
    return load_checkpoint(tmp_path / "refitted")


def row(method: str, distance: float, ratio: str = "refitted", beta: float = 1.0, **more) -> dict:
    return {"method": method, "ratio": ratio, "beta": beta, "n_steps": 7, "options": {}, **more,
            "frechet_distance": {"mean": distance, "sd": 0.0}}  # fmt: skip


SCREEN = {
    "rows": [
        {"method": "base", "frechet_distance": {"mean": 10.0, "sd": 0.0}},
        row("langevin", 8.0, eps=0.1, temperature=1.0),
        row("langevin", 7.0, eps=0.3, temperature=1.0),
        row("langevin", 6.5, ratio="raw", eps=0.1, temperature=1.0),
        row("i-sir", 6.0, options={"particles": 50}),
        row("mala", 5.0, eps=None, temperature=1.0),
        row("mala", 1.0, beta=0.0, eps=None, temperature=1.0),
        row("rejection", 9.0, options={"gamma_percentile": 80.0, "delta": 1e-6, "log_bound": None}),
        {"method": "truncation", "options": {"threshold": 1.5}, "frechet_distance": {"mean": 0.5, "sd": 0.0}},
        {"method": "truncation", "options": {"threshold": 1.0}, "frechet_distance": {"mean": 0.7, "sd": 0.0}},
    ]
}


def test_the_screen_runs_every_method_at_one_price(refitted):
    jobs = benchmark.screen_jobs(refitted)
    runs = [job for job in jobs if not isinstance(job, Truncation | BestOf)]
    assert {job.method for job in runs if job.ratio == "refitted" and job.beta == 1.0} == PAIR_METHODS
    for ratio in ("raw", "calibrated"):
        assert [job.method for job in runs if job.ratio == ratio and job.beta == 1.0] == list(benchmark.EVERY_RATIO)
    for job in runs:
        price = evaluations(job.method, job.values, 1) - evaluations(job.method, job.values, 0)
        spent = evaluations(job.method, job.values, job.n_steps)
        assert spent <= 50 < spent + price
    assert {(job.num_images, job.seed) for job in jobs} == {(2048, 0)}
    assert [job.beta for job in runs].count(0.0) == 1
    assert len({json.dumps(job.as_dict(), sort_keys=True) for job in jobs}) == len(jobs)
    assert {job.threshold for job in jobs if isinstance(job, Truncation)} == {0.5, 1.0, 1.5, 2.0}


def test_without_a_refitted_ratio_the_models_own_default_is_the_best(tiny_models):
    jobs = benchmark.screen_jobs(load("tiny"))
    assert {job.ratio for job in jobs if job.method == "smc"} == {"calibrated"}
    assert {job.ratio for job in jobs if job.method == "i-sir"} == {"raw", "calibrated"}


def test_the_best_are_one_for_each_method_and_ratio_and_no_controls():
    assert [(one["method"], one["ratio"]) for one in benchmark.best_rows(SCREEN["rows"], 3)] == [
        ("mala", "refitted"), ("i-sir", "refitted"), ("langevin", "raw"),
    ]  # fmt: skip
    with_more = benchmark.best_rows(SCREEN["rows"], 2, also=("rejection", "mala"))
    assert [one["method"] for one in with_more] == ["mala", "i-sir", "rejection"]
    assert benchmark.best_rows(SCREEN["rows"], 9)[3]["eps"] == 0.3


def test_the_final_repeats_the_screens_settings_on_three_seeds(refitted):
    jobs = benchmark.final_jobs(refitted, SCREEN, 4)
    assert {(job.num_images, job.seed) for job in jobs} == {(5000, seed) for seed in range(3)}
    found = {(job.method, job.ratio): job for job in jobs if isinstance(job, Settings) and job.beta == 1.0}
    assert list(found) == [("mala", "refitted"), ("i-sir", "refitted"), ("langevin", "raw"), ("langevin", "refitted")]
    assert found["i-sir", "refitted"].values["particles"] == 50
    assert found["langevin", "refitted"].values["eps"] == 0.3
    assert found["mala", "refitted"].values["eps"] is None
    assert {job.n_steps for job in found.values()} == {7}
    assert [job.threshold for job in jobs if isinstance(job, Truncation)] == [1.5] * 3


def test_a_screen_of_another_model_is_used_with_the_ratio_that_there_is(tiny_models):
    jobs = benchmark.final_jobs(load("tiny"), SCREEN, 2)
    assert [(job.method, job.ratio) for job in jobs[:6:3]] == [("mala", "calibrated"), ("i-sir", "calibrated")]


def test_a_table_is_of_pairs(tiny_models):
    with pytest.raises(InputError, match="which 'cifar10-features' is not"):
        benchmark.screen_jobs(load("cifar10-features"))


@pytest.fixture
def small(tiny_models, tmp_path, monkeypatch):
    """The command with few methods and a small budget; gives the folder of the committed results."""
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(benchmark, "EVERY_RATIO", ("rejection",))
    monkeypatch.setattr(benchmark, "methods_of", lambda config: ("langevin", "rejection"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def called(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["table.py", *words])
    benchmark.main()


@pytest.mark.slow
def test_screen_and_final_from_the_command_line(small, monkeypatch, capsys):
    stop = Path("runs/table/stop")
    stop.parent.mkdir(parents=True)
    stop.touch()
    with pytest.raises(SystemExit, match="stopped before job 1 of 10; the same command continues there"):
        called(monkeypatch, "screen", "tiny", "--num-images", "40", "--budget", "6")
    assert not small.exists()
    stop.unlink()
    called(monkeypatch, "screen", "tiny", "--num-images", "40", "--budget", "6")
    jobs = {file: file.stat().st_mtime_ns for file in Path("runs/table/tiny-screen/jobs").iterdir()}
    screen = json.loads((small / "tiny-screen.json").read_text())
    assert screen["reference"]["split"] == "holdout"
    assert screen["budget"] == 6.0
    distances = [one["frechet_distance"]["mean"] for one in screen["rows"][1:]]
    assert distances == sorted(distances)
    assert len(jobs) == len(distances) == 10
    called(monkeypatch, "screen", "tiny", "--num-images", "40", "--budget", "6")
    assert {file: file.stat().st_mtime_ns for file in jobs} == jobs  # nothing was run again

    called(monkeypatch, "final", "tiny", "--num-images", "40", "--best", "1", "--also", "rejection,langevin")
    final = json.loads((small / "tiny-test.json").read_text())
    assert final["reference"]["split"] == "test"
    assert final["seeds"] == [0, 1, 2]
    assert {one["method"] for one in final["rows"]} == {"base", "langevin", "rejection", "mala", "truncation", "best-of"}
    assert set(tables.committed()) == {"tiny-screen", "tiny-test"}
    assert "| base |" in capsys.readouterr().out


def test_the_plan_says_what_a_screen_would_cost(small, monkeypatch, capsys):
    called(monkeypatch, "plan", "tiny", "--budget", "6")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    # Langevin at two steps, rejection with two ratios, mala at beta 0, best of 12: 6 evaluations for each image.
    assert f"at most {2048 * 6 * 6:,} gradient evaluations" in lines[-1]


def test_no_setting_is_measured_twice():
    """Every embedded pair's own defaults included: variants that name no options would be whatever those are."""
    import panel

    for name in ("celeba-dcgan", "mnist-gan", "cifar10-cgan"):
        specs = [spec for spec in panel.within(load(name), 25) if spec.startswith("ex2mcmc")]
        assert len(specs) == len(set(specs)) == 2
        assert all("particles=" in spec for spec in specs)
