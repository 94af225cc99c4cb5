"""The command line: five files, repeatable; one clear line and status 2 for whatever is wrong, and nothing half-written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ebm_refine.cli import main

ROOT = Path(__file__).parent.parent
FILES = {"before.png", "after.png", "samples.npz", "settings.json", "metrics.json"}


def failing(capsys, *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


def test_refine_writes_its_five_files_again_and_again(tiny_models, tmp_path, capsys):
    for name in ("one", "two"):
        arguments = ["refine", "--model", "tiny", "--method", "langevin", "--eps", "0.01", "--n-steps", "5"]
        assert main([*arguments, "--num-images", "8", "--seed", "0", "--out", str(tmp_path / name)]) == 0
    assert {file.name for file in (tmp_path / "one").iterdir()} == FILES
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    assert set(metrics["kernel_distance"]) == {"before", "after", "difference"}
    for name in ("settings.json", "metrics.json"):
        text = (tmp_path / "one" / name).read_text()
        assert str(tmp_path) not in text


def test_models_lists_what_is_embedded(tiny_models, capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "tiny" in out
    assert "langevin, rejection" in out


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--eps", "nan"], "eps must be a number from 1e-09 to 10; got nan"),
        (["--eps", "inf"], "eps must be"),
        (["--eps", "-1"], "eps must be"),
        (["--eps", "-1e-3"], "eps must be a number from 1e-09 to 10; got -0.001"),
        (["--eps", "-inf"], "eps must be a number from 1e-09 to 10; got -inf"),
        (["--eps", "0"], "eps must be"),
        (["--eps", "1e300"], "eps must be"),
        (["--eps", "small"], "got 'small'"),
        (["--eps", "true"], "got 'true'"),
        (["--n-steps", "0"], "n_steps must be a whole number from 1 to 10000; got 0"),
        (["--n-steps", "2.5"], "n_steps must be"),
        (["--n-steps", "null"], "n_steps must be"),
        (["--n-steps", "9" * 5000], "n_steps must be"),
        (["--num-images", "0"], "num_images must be a whole number from 1 to 50000; got 0"),
        (["--num-images", "10000000"], "num_images must be"),
        (["--seed", "-1"], "seed must be"),
        (["--method", "nuts"], "method must be one of langevin"),
        (["--ratio", "best"], "ratio must be one of auto"),
        (["--set", "gamma"], "--set takes name=value"),
        (["--set", "gamma=1"], "'gamma'"),
        (["--device", "cuda:7"], "device must be one of cpu"),
        (["--nonsense"], "unrecognized arguments"),
        (["--eps"], "expected one argument"),
    ],
)
def test_bad_settings_give_one_line_and_status_two(tiny_models, tmp_path, capsys, flags, expected):
    out = tmp_path / "out"
    message = failing(capsys, "refine", "--model", "tiny", "--out", str(out), *flags)
    assert expected in message
    assert len(message) < 400
    assert not out.exists()


def test_bad_models_and_folders(tiny_models, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert "model must be" in failing(capsys, "refine", "--model", "nowhere", "--out", out)
    assert "cannot be refined" in failing(capsys, "refine", "--model", "cifar10-features", "--out", out)
    (tmp_path / "file").touch()
    message = failing(capsys, "refine", "--model", "tiny", "--n-steps", "1", "--out", str(tmp_path / "file"))
    assert "is a file" in message
    assert "arguments are required: --out" in failing(capsys, "refine", "--model", "tiny")


def test_bad_training_input(tmp_path, capsys):
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert "recipe must be one of cifar10-features" in failing(capsys, "train", "nothing", *places)
    for steps in ("0", "nan", "many", "-3"):
        assert "steps must be" in failing(capsys, "train", "cifar10-features", "--steps", steps, *places)
    missing = failing(capsys, "train", "cifar10-features", "--data", str(tmp_path / "no"), *places)
    assert "existing folder" in missing


def test_training_data_with_other_columns_is_refused(tmp_path, capsys):
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()  # they write to standard error too
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "test"):
        Dataset.from_dict({"text": ["a", "b"]}).to_parquet(str(data / f"{split}-0.parquet"))
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    message = failing(capsys, "train", "cifar10-features", "--data", str(data), *places)
    assert "needs an image column 'img'" in message
    (tmp_path / "empty").mkdir()
    assert "holds no train-*.parquet" in failing(
        capsys, "train", "cifar10-features", "--data", str(tmp_path / "empty"), *places, "--resume"
    )


def test_as_a_program_it_prints_no_traceback(tmp_path):
    command = [sys.executable, "-m", "ebm_refine", "refine", "--model", "nowhere", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("ebm_refine: ")
    assert done.stderr.count("\n") == 1


def test_a_public_pair_is_imported_and_refined(tmp_path, capsys):
    import torch
    from conftest import tiny_pair_parts

    for role, part in tiny_pair_parts().items():
        torch.save(part.network.state_dict(), tmp_path / f"{role}.pth")
    files = [str(tmp_path / "generator.pth"), str(tmp_path / "discriminator.pth")]
    out = str(tmp_path / "mine")
    assert main(["import", *files, "--dataset", "other", "--out", out]) == 0
    assert "3x32x32" in capsys.readouterr().out
    assert main(["refine", "--model", out, "--n-steps", "2", "--num-images", "3", "--out", str(tmp_path / "refined")]) == 0
    metrics = json.loads((tmp_path / "refined" / "metrics.json").read_text())
    assert "no feature extractor" in metrics["note"]
    assert "image_size must be" in failing(capsys, "import", *files, "--dataset", "other", "--out", out, "--image-size", "x")
    (tmp_path / "generator.pth").write_bytes(b"no weights")
    failing(capsys, "import", *files, "--dataset", "other", "--out", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
