"""The command line: five files, repeatable; one clear line and status 2 for whatever is wrong, and nothing half-written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ebm_refine
from ebm_refine.cli import main
from ebm_refine.errors import InputError

ROOT = Path(__file__).parent.parent
FILES = {"before.png", "after.png", "samples.npz", "settings.json", "metrics.json"}


def failing(capsys, *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.slow
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


def test_one_image_has_no_distance_and_its_metrics_are_json(tiny_models, tmp_path):
    assert main(["refine", "--model", "tiny", "--num-images", "1", "--n-steps", "2", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text)["note"] == "a distance needs at least 2 images"
    assert "NaN" not in text


def recorded(folder: Path, **changed) -> str:
    """The settings.json in `folder` with some entries, or those of its environment, changed; None takes one away."""
    settings = json.loads((folder / "settings.json").read_text())
    for name, value in changed.items():
        section = settings["environment"] if name in settings["environment"] else settings
        section[name] = value
    file = folder / "changed.json"
    file.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))
    return str(file)


@pytest.mark.slow
def test_a_run_is_repeated_like_its_settings(tiny_models, tmp_path, capsys):
    """Also where the flags of the first one are no defaults, and with the number of threads that it had."""
    out = tmp_path / "one"
    flags = ["--method", "mala", "--n-steps", "7", "--num-images", "9", "--seed", "5", "--ratio", "raw", "--beta", "2"]
    torch.set_num_threads(2)
    assert main(["refine", "--model", "tiny", *flags, "--precision", "fp32", "--out", str(out)]) == 0
    environment = json.loads((out / "settings.json").read_text())["environment"]
    assert environment == {
        "torch": torch.__version__, "device": "cpu", "processor": torch.backends.cpu.get_cpu_capability(), "threads": 2,
        "precision": "fp32", "weights": ebm_refine.load("tiny").fingerprint,
    }  # fmt: skip
    torch.set_num_threads(1)
    again = ["refine", "--like", str(out / "settings.json"), "--out", str(tmp_path / "two")]
    assert main(again) == 0
    assert torch.get_num_threads() == 2
    for name in FILES:
        assert (out / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    torch.set_num_threads(1)
    # In Python the same: the whole file is what refine takes.
    once_more = ebm_refine.refine(**json.loads(Path(recorded(out, threads=1)).read_text()))
    assert once_more.environment == {**environment, "threads": 1}
    with pytest.raises(InputError, match="the number of threads differs, 2 then and 1 here"):
        ebm_refine.refine(**json.loads((out / "settings.json").read_text()))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"torch": "1.0"}, "this run cannot be repeated to the bit: the version of PyTorch differs, '1.0' then and"),
        ({"processor": "SSE"}, "the kind of processor differs, 'SSE' then and"),
        ({"threads": "two"}, "the number of threads differs, 'two' then and 1 here"),
        ({"weights": "0" * 16}, "the fingerprint of the model's weights differs, '0000000000000000' then and"),
        ({"device": "cuda"}, "device must be one of cpu on this machine; got 'cuda'"),
        ({"precision": "fp8"}, "precision must be one of auto, fp32, bf16; got 'fp8'"),
        ({"precision": 3}, "environment must be the entry of that name in a settings.json; got {"),
        ({"environment": None}, "does not say where it was computed (environment), so its bits cannot be repeated"),
        ({"environment": "here"}, "does not say where it was computed (environment)"),
        ({"model": None}, "names no model"),
        ({"model": "nowhere"}, "model must be one of"),
        ({"every_step": True}, "holds 'every_step', which is no setting of a run"),
        ({"n_steps": 0}, "n_steps must be a whole number from 1 to 10000; got 0"),
    ],
)
@pytest.mark.slow
def test_why_a_run_cannot_be_repeated_is_said(tiny_models, tmp_path, capsys, changed, sentence):
    assert main(["refine", "--model", "tiny", "--n-steps", "1", "--num-images", "2", "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    message = failing(capsys, "refine", "--like", recorded(tmp_path, **changed), "--out", str(tmp_path / "two"))
    assert sentence in message
    assert not (tmp_path / "two").exists()


@pytest.mark.slow
def test_like_takes_a_readable_file_and_no_other_settings(tiny_models, tmp_path, capsys):
    assert main(["refine", "--model", "tiny", "--n-steps", "1", "--num-images", "2", "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    like, out = str(tmp_path / "settings.json"), str(tmp_path / "two")
    for flag, value in [("--eps", "0.1"), ("--n-steps", "1"), ("--num-images", "3"), ("--set", "a=1"), ("--device", "cuda")]:
        assert f"leave out {flag}" in failing(capsys, "refine", "--like", like, flag, value, "--out", out)
    for content in (b"", b"{", b"\xff", b"[" * 100_000):
        (tmp_path / "bad.json").write_bytes(content)
        assert "cannot be read: it is not JSON" in failing(capsys, "refine", "--like", str(tmp_path / "bad.json"), "--out", out)
    (tmp_path / "bad.json").write_text("[1]")
    assert "names no model" in failing(capsys, "refine", "--like", str(tmp_path / "bad.json"), "--out", out)
    assert "No such file" in failing(capsys, "refine", "--like", str(tmp_path / "none.json"), "--out", out)
    assert main(["refine", "--model", "tiny", "--like", like, "--out", out]) == 0
    assert (tmp_path / "two" / "samples.npz").read_bytes() == (tmp_path / "samples.npz").read_bytes()


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
    assert "refine needs --model, or --like" in failing(capsys, "refine", "--out", out)


def test_bad_training_input(tmp_path, capsys):
    folders = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert "recipe must be one of cifar10-features" in failing(capsys, "train", "nothing", *folders)
    for steps in ("0", "nan", "many", "-3"):
        assert "steps must be" in failing(capsys, "train", "cifar10-features", "--steps", steps, *folders)
    missing = failing(capsys, "train", "cifar10-features", "--data", str(tmp_path / "no"), *folders)
    assert "existing folder" in missing


def test_training_data_with_other_columns_is_refused(tmp_path, capsys):
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()  # they write to standard error too
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "test"):
        Dataset.from_dict({"text": ["a", "b"]}).to_parquet(str(data / f"{split}-0.parquet"))
    folders = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    message = failing(capsys, "train", "cifar10-features", "--data", str(data), *folders)
    assert "needs an image column 'img'" in message
    (tmp_path / "empty").mkdir()
    assert "holds no train-*.parquet" in failing(
        capsys, "train", "cifar10-features", "--data", str(tmp_path / "empty"), *folders, "--resume"
    )


@pytest.mark.slow
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
