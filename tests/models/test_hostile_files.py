"""Checkpoints and weights of strangers: absurd sizes, pipes, devices, links elsewhere, odd tensors, a Hub that trickles."""

import json
import os
import time
from pathlib import Path

import hub_server
import pytest
import torch
from conftest import save_tiny_models

from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models import hub
from ebm_refine.models.checkpoint import load_checkpoint
from ebm_refine.models.config import read_config
from ebm_refine.models.convert.state_dicts import read_weights, state_dict_of
from ebm_refine.utils.bounded_reading import read_regular


@pytest.fixture
def folder(tmp_path) -> Path:
    return save_tiny_models(tmp_path / "embedded") / "tiny"


def refusal(folder: Path) -> str:
    """The one sentence with which a folder is refused, at once."""
    began = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert time.monotonic() - began < 5
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def rewritten(folder: Path, **entries: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def test_a_sample_of_absurd_size_is_refused_before_it_is_made(folder):
    rewritten(folder, data={"shape": [1, 65536, 65536], "range": [-1, 1], "dataset": "x"})
    assert "has more than 16777216 numbers" in refusal(folder)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"defaults": {"langevin": "fast"}}, "defaults must be an object of a method"),
        ({"defaults": {"method": {}}}, "defaults must be an object of a method"),
        ({"defaults": {"x" * 1_000_000: 3}}, "defaults must be an object of a method"),
        ({"title": 3}, "must be texts"),
        ({"training": [1]}, "training must be an object"),
        ({"data": {"shape": [3, 32, 32], "range": [-1, 1], "dataset": ["x"]}}, "must be texts"),
    ],
)
def test_types_of_entries(folder, entries, said):
    rewritten(folder, **entries)
    assert said in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "generator.safetensors"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "no regular file" in refusal(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    assert "a link to a file outside" in refusal(folder)
    with pytest.raises(OSError, match="no regular file"):
        read_regular(Path("/dev/zero"), 10)


def test_links_within_the_folder_are_followed_and_others_are_not(folder, tmp_path):
    weights = folder / "generator.safetensors"
    moved = weights.rename(folder / "kept.safetensors")
    weights.symlink_to(moved.name)
    assert load_checkpoint(folder).kind == "pair"
    weights.unlink()
    weights.symlink_to(moved.rename(tmp_path / "elsewhere.safetensors"))
    assert "a link to a file outside the checkpoint's folder" in refusal(folder)
    ring = folder / "config.json"
    ring.unlink()
    ring.symlink_to("config.json")
    refusal(folder)


def test_a_file_without_end_is_not_read(tmp_path):
    file = tmp_path / "sparse"
    with file.open("wb") as stream:
        stream.truncate(10**12)
    began = time.monotonic()
    with pytest.raises(OSError, match="larger than 1 MB"):
        read_regular(file, 1_000_000)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.zeros(1).expand(65536, 65536), "larger than what is stored of it"),
        (torch.zeros(4, 4, device="meta"), "has a shape but no numbers"),
        (torch.zeros(4, 4).to_sparse(), "sparse or quantised"),
        (torch.zeros(4, 4).to(torch.float8_e4m3fn), "of type float8_e4m3fn"),
    ],
)
def test_tensors_of_odd_layouts(tmp_path, tensor, said):
    file, key = tmp_path / "weights.pt", "k" * 1_000_000
    with pytest.raises(CheckpointError, match=said) as caught:
        state_dict_of({key: tensor}, "generator", file)
    assert len(str(caught.value)) < 400


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_weights_from_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="no regular file"):
        read_weights(tmp_path / "weights.pt")


@pytest.mark.slow
def test_a_hub_that_sends_a_byte_a_second_is_given_up(folder, tmp_path, monkeypatch):
    class Trickling(hub_server._Handler):
        def do_HEAD(self) -> None:  # noqa: N802
            self.do_GET()

        def do_GET(self) -> None:  # noqa: N802
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 60:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.2)

    monkeypatch.setattr(hub_server, "_Handler", Trickling)
    monkeypatch.setattr(hub, "SLOW_SECONDS", 1.0)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with hub_server.running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for _ in range(2):  # the first imports the Hub's client, which takes its time
            began = time.monotonic()
            with pytest.raises(InputError, match="too slow \\(nothing whole came for 1 s\\)"):
                hub.load_from_hub("someone/something-slow")
        assert time.monotonic() - began < 5


def test_an_untouched_folder_is_read(folder):
    assert read_config(folder)["kind"] == "pair"
