"""A run goes on only as what it is: another seed, length, data or recipe is refused; damage is said; the log has no doubles."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ebm_refine.cli import main
from ebm_refine.errors import InputError
from ebm_refine.training.common.resumable import Run

IDENTITY = {"recipe": "toy", "seed": 1, "steps": 300, "data": None, "model": None, "device": "cpu"}


def saved(folder: Path, **changed) -> Path:
    run = Run(folder, resume=False, identity=IDENTITY | changed, version="now")
    run.save({"step": 3})
    return folder


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 2), ("steps", 600), ("data", "abc"), ("recipe", "other"), ("device", "cuda")]
)
def test_another_run_is_refused_and_says_what_differs(tmp_path, name, value):
    folder = saved(tmp_path / "run")
    with pytest.raises(InputError, match=f"{name} .*not ") as refused:
        Run(folder, resume=True, identity=IDENTITY | {name: value}, version="now")
    assert str(IDENTITY[name]) in str(refused.value)
    assert str(value) in str(refused.value)


def test_the_same_run_continues_and_another_version_is_reported(tmp_path, capsys):
    folder = saved(tmp_path / "run")
    state = Run(folder, resume=True, identity=IDENTITY, version="now").load()
    assert state is not None
    assert state["step"] == 3
    assert capsys.readouterr().err == ""
    Run(folder, resume=True, identity=IDENTITY, version="later")
    assert "with later in" in capsys.readouterr().err


def test_a_phase_belongs_to_its_run(tmp_path):
    run = Run(saved(tmp_path / "run"), resume=True, identity=IDENTITY, version="now")
    run.part("alone").save({"step": 1})
    other = Run(tmp_path / "other", resume=True, identity=IDENTITY | {"seed": 2}, version="now")
    shutil.copytree(run.folder / "alone", other.folder / "alone")
    with pytest.raises(InputError, match="seed"):
        other.part("alone")


@pytest.mark.parametrize("damage", [b"", b"no state", None, "number"])
def test_a_damaged_state_is_one_sentence(tmp_path, damage):
    file = saved(tmp_path / "run") / "state.pt"
    if damage == "number":
        torch.save(3, file)
    else:
        file.write_bytes(file.read_bytes()[:-200] if damage is None else damage)
    with pytest.raises(InputError, match=r"state\.pt .*remove .* to begin anew"):
        Run(file.parent, resume=True, identity=IDENTITY, version="now")


def test_a_run_from_before_identities_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    torch.save({"step": 3}, tmp_path / "run" / "state.pt")
    with pytest.raises(InputError, match="does not say its recipe"):
        Run(tmp_path / "run", resume=True, identity=IDENTITY, version="now")


def test_what_was_logged_after_the_last_state_is_dropped(tmp_path):
    run = Run(tmp_path / "run", resume=False, identity=IDENTITY, version="now")
    run.log(step=1)
    run.save({"step": 1})
    run.log(step=2)
    with open(run.log_file, "a") as log:
        log.write('{"step": 3, "lo')  # killed in the middle of a line
    again = Run(run.folder, resume=True, identity=IDENTITY, version="now")
    again.load()
    again.log(step=2)
    assert [json.loads(line)["step"] for line in run.log_file.read_text().splitlines()] == [1, 2]


def test_the_log_of_a_run_without_state_begins_anew(tmp_path):
    run = Run(tmp_path / "run", resume=False, identity=IDENTITY, version="now")
    run.log(step=1)
    assert Run(run.folder, resume=True, identity=IDENTITY, version="now").load() is None
    assert run.log_file.read_text() == ""


@pytest.mark.slow
def test_the_command_line_refuses_another_seed(tmp_path, capsys):
    where = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--steps", "20"]
    assert main(["train", "toy-moons-gan", *where, "--seed", "1"]) == 0
    assert (tmp_path / "runs" / "toy-moons-gan" / "state.pt").exists()
    weights = (tmp_path / "out" / "toy-moons-gan" / "generator.safetensors").read_bytes()
    capsys.readouterr()
    assert main(["train", "toy-moons-gan", *where, "--seed", "2", "--resume"]) == 2
    assert "seed 1, not 2" in capsys.readouterr().err
    assert (tmp_path / "out" / "toy-moons-gan" / "generator.safetensors").read_bytes() == weights


def handles(pid: int, number: int) -> bool:
    """Whether the process has set a handler for the signal `number`; before that it is simply killed by it."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.slow
def test_sigterm_ends_a_run_cleanly(tmp_path):
    out = tmp_path / "out"
    settings = ["--model", "toy-grid25-exact", "--method", "mala", "--n-steps", "10000", "--num-images", "2000"]
    command = [sys.executable, "-m", "ebm_refine", "refine", *settings, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not handles(process.pid, signal.SIGTERM) and time.monotonic() < until:
        time.sleep(0.2)
    time.sleep(2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in errors
    assert "stopped" in errors
    assert os.listdir(tmp_path) in ([], ["out"])
    assert not out.exists() or os.listdir(out) == []


def test_the_time_of_a_run_is_that_of_all_its_sittings_and_phases(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    run = Run(tmp_path / "run", resume=False)
    clock[0] = 60.0
    run.save({"step": 1})
    alone = run.part("alone")
    clock[0] = 100.0
    alone.save({"step": 1})
    assert run.seconds() == 100

    # What a kill takes away is not counted, nor the pause.
    clock[0] = 1000.0
    again = Run(tmp_path / "run", resume=True)
    assert again.load() is not None
    assert again.part("alone").load() is not None
    clock[0] = 1005.0
    assert again.seconds() == 60 + 40 + 5
    again.save({"step": 2})
    again.load()
    assert again.seconds() == 60 + 40 + 5
