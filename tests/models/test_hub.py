"""The Hub, against a stand-in on loopback: cache first, then network; each failure one sentence; push; the model card."""

import json
import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import hub_server
import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants, file_download
from test_checkpoints import CONFIG, small_parts

from ebm_refine.catalogue import load
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models import hub
from ebm_refine.models.checkpoint import load_checkpoint, save_checkpoint
from ebm_refine.models.model_card import model_card

# What huggingface_hub does when it pushes.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "pair"
    save_checkpoint(folder, CONFIG, small_parts(), "# A card\n")
    return folder


@pytest.fixture
def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A stand-in Hub, a fresh cache, and no credentials of whoever runs the tests."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    with hub_server.running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def refusal(name, kind=InputError, within=10.0):
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        load(name)
    assert time.monotonic() - started < within
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


def gets(server):
    return [path for method, path in server.log if method == "GET"]


# --- finding


def test_a_model_comes_from_the_hub_and_then_from_the_cache(server, files, folder):
    server.add("org/pair", {**files, "extra.bin": b"not wanted"})
    checkpoint = load("org/pair")
    assert checkpoint.name == "org/pair"
    latents = torch.randn(2, 8)
    expected = load_checkpoint(folder).networks["generator"](latents)
    assert torch.equal(checkpoint.networks["generator"](latents), expected)
    assert {path.rsplit("/", 1)[1] for path in gets(server)} == {
        "config.json",
        "generator.safetensors",
        "discriminator.safetensors",
    }
    server.log.clear()
    assert load("org/pair").hashes == checkpoint.hashes
    assert server.log == []


def test_a_revision_and_a_folder_within_a_repo(server, files):
    second = {name: content.replace(b"A small pair", b"A later one!") for name, content in files.items()}
    server.add("org/many", {f"sets/small/{name}": content for name, content in files.items()})
    commit = server.add("org/many", {f"sets/small/{name}": content for name, content in second.items()}, "v2")
    assert load("org/many/sets/small").config["title"] == "A small pair"
    for revision in ("v2", commit):
        assert load(f"org/many/sets/small@{revision}").config["title"] == "A later one!"
    assert load("org/many/sets/small").config["title"] == "A small pair"


def test_all_files_are_of_one_commit(server, files):
    """The branch moves while a model is fetched: its weights are still those of the config."""
    first = server.add("org/pair", files)
    load("org/pair")
    assert {path for path in gets(server) if path.endswith(".safetensors")} == {
        f"/org/pair/resolve/{first}/{role}.safetensors" for role in ("generator", "discriminator")
    }


def test_large_files_lie_elsewhere(server, files):
    server.add("org/pair", files)
    server.faults[".safetensors"] = "elsewhere"
    assert load("org/pair").kind == "pair"
    assert sum(path.startswith("/cdn/") for path in gets(server)) == 2


def test_an_incomplete_cache_is_completed(server, files):
    server.add("org/pair", files)
    server.faults["discriminator.safetensors"] = "404"
    refusal("org/pair")
    server.faults.clear()
    assert load("org/pair").kind == "pair"


def test_an_embedded_name_or_a_folder_asks_no_hub(server, folder, monkeypatch):
    assert load(str(folder)).kind == "pair"
    with pytest.raises(InputError):
        load("no-such-model")
    monkeypatch.chdir(folder.parent.parent)
    assert load(f"{folder.parent.name}/pair").kind == "pair"
    assert server.log == []


@pytest.mark.parametrize(
    "name",
    ["org/", "/name", "org//name", "org/name@", "org/name@../x", "org/na me", "org/name/../up", "org/name@a@b", "org/n--x",
     "org/x.git", "org/.hidden", "org/-x", "org/name?x=1", "org/name#x", "org/näme", "o/" + "x" * 97, "org/name/a//b",
     "org/n\0", "https://huggingface.co/org/name", "./org/name", "~/name", "org/name\n", "org\\name/x",
     "x" * 60 + "/" + "y" * 60, "org/name@-x", "org/name@a b", "org/name@a//b", "org/name@main\n"],
)  # fmt: skip
def test_a_name_that_no_hub_model_has_asks_no_hub(server, name):
    refusal(name, within=2.0)
    assert server.log == []


def test_names_are_read():
    assert hub.parse("org/name") == hub.HubName("org/name", "", "main")
    assert hub.parse("org/name/a/b@refs/pr/1") == hub.HubName("org/name", "a/b", "refs/pr/1")


# --- failing


def test_a_model_that_is_not_there(server):
    message = refusal("org/none")
    assert "'org/none' is no folder here and no model on the Hub" in message
    assert "check the name, or log in with `hf auth login`" in message


def test_a_private_model(server, files, monkeypatch):
    server.add("org/pair", files)
    server.repos["org/pair"].needs = "hf_secret"
    assert "or a private one" in refusal("org/pair")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "hf_wrong" not in refusal("org/pair")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert load("org/pair").kind == "pair"


def test_a_gated_model(server, files):
    server.add("org/pair", files)
    server.repos["org/pair"].gated = True
    message = refusal("org/pair")
    assert "'org/pair' is gated: ask for access at" in message


@pytest.mark.parametrize("status", ["401", "403"])
def test_access_refused(server, files, status):
    server.add("org/pair", files)
    server.faults["config.json"] = status
    assert "log in with `hf auth login`" in refusal("org/pair")


def test_a_revision_that_is_not_there(server, files):
    server.add("org/pair", files)
    assert "model 'org/pair' has no revision 'v9'" in refusal("org/pair@v9")
    assert "has no revision" in refusal("org/pair@" + "0" * 40)


@pytest.mark.parametrize("missing", ["config.json", "generator.safetensors"])
def test_a_repo_that_is_no_checkpoint(server, files, missing):
    server.add("org/pair", {name: content for name, content in files.items() if name != missing})
    assert f"model 'org/pair' on the Hub has no file {missing}" in refusal("org/pair")


@pytest.mark.slow
def test_a_folder_that_the_repo_lacks(server, files):
    server.add("org/pair", files)
    assert "model 'org/pair/deeper' on the Hub has no file config.json" in refusal("org/pair/deeper")


def test_a_wrong_hash(server, files):
    server.add("org/pair", files)
    server.faults["generator.safetensors"] = "wrong"
    message = refusal("org/pair", CheckpointError)
    assert "its sha256 is not the one in config.json" in message
    assert "delete " in message
    assert "models--org--pair" in message


def test_a_config_that_is_no_checkpoints(server, files):
    server.add("org/pair", {**files, "config.json": b'{"model_type": "bert"}'})
    message = refusal("org/pair", CheckpointError)
    assert "format must be 1; got None" in message
    assert "tell the owner of org/pair" in message


def test_a_config_that_points_outside(server, files):
    config = json.loads(files["config.json"])
    config["parts"]["generator"]["file"] = "../../../../etc/passwd"
    server.add("org/pair", {**files, "config.json": json.dumps(config).encode()})
    assert "must name a .safetensors file beside it" in refusal("org/pair", CheckpointError)
    assert not any("passwd" in path for path in gets(server))


@pytest.mark.parametrize(("how", "reason"), [("cut", "the server breaks off and cannot resume"), ("stalls", "peer closed")])
@pytest.mark.slow
def test_a_body_that_breaks_off(server, files, how, reason, monkeypatch):
    """In chunks, as a file of more than 10 MB arrives; without a bound, "cut" would go on for ever."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 512)
    # The client tries to go on, a second apart: here a fiftieth of one.
    hurried = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: time.sleep(seconds / 50)})
    monkeypatch.setattr(file_download, "time", hurried)
    server.add("org/pair", files)
    server.faults["generator.safetensors"] = how
    message = refusal("org/pair")
    assert f"the transfer of model 'org/pair' from {server.url} broke off ({reason}" in message
    assert "; try again" in message
    server.faults.clear()
    assert load("org/pair").kind == "pair"


def test_a_server_that_is_down(server, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        message = refusal("org/pair", within=8.0)
    assert "cannot be reached" in message
    assert "check the network or HF_ENDPOINT" in message


def test_embedded_models_are_suggested_instead(server, folder, monkeypatch):
    monkeypatch.setattr("ebm_refine.catalogue.EMBEDDED", folder.parent)
    server.faults["config.json"] = "503"
    assert "try again later, or use an embedded model: pair" in refusal("org/pair")


@pytest.mark.slow
def test_a_server_that_never_answers(server, monkeypatch):
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    server.faults["config.json"] = "silent"
    assert "cannot be reached (" in refusal("org/pair", within=8.0)
    assert hub.TIMEOUT == 0.5


def test_the_timeout_leaves_room_within_ten_seconds():
    assert hub.TIMEOUT <= 8


@pytest.mark.parametrize("status", ["500", "503", "504", "429"])
def test_a_server_in_trouble(server, files, status):
    server.add("org/pair", files)
    server.faults["config.json"] = status
    assert f"answers with status {status}; try again later" in refusal("org/pair", within=8.0)


def test_a_server_that_is_no_hub(server, files):
    server.add("org/pair", files)
    server.faults["config.json"] = "no commit"
    assert "is not served as a Hub serves files; check HF_ENDPOINT" in refusal("org/pair")


@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
def test_an_endpoint_that_is_no_address(server, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert "HF_ENDPOINT" in refusal("org/pair", within=5.0)


def test_a_cache_that_cannot_be_written(server, files, tmp_path, monkeypatch):
    server.add("org/pair", files)
    (tmp_path / "in-the-way").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "in-the-way" / "cache"))
    assert "cannot be stored in the Hub cache: Not a directory" in refusal("org/pair")


def test_offline_mode_uses_the_cache_only(server, files, monkeypatch):
    server.add("org/pair", files)
    load("org/pair")
    server.log.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load("org/pair").kind == "pair"
    message = refusal("org/other", within=2.0)
    assert "model 'org/other' is not in the local Hub cache and HF_HUB_OFFLINE forbids fetching it" in message
    assert server.log == []


@pytest.mark.slow
def test_the_environment_alone_is_enough(server, files, tmp_path):
    """The real variables in a fresh process: fetched from HF_ENDPOINT into HF_HOME, then used offline."""
    server.add("org/pair", files)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    code = (
        "import os, sys, ebm_refine\n"
        "assert 'huggingface_hub' not in sys.modules, 'imported too early'\n"
        "print(ebm_refine.load('org/pair').kind)\n"
        "os.environ['HF_ENDPOINT'] = 'http://127.0.0.1:9'\n"
        "from huggingface_hub import constants\n"
        "constants.HF_HUB_OFFLINE = True\n"
        "print(ebm_refine.load('org/pair').kind)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["pair", "pair"], done.stderr
    assert (tmp_path / "home" / "hub" / "models--org--pair").is_dir()


# --- pushing


@pytest.mark.slow
def test_what_is_pushed_can_be_loaded(server, folder, files):
    address = hub.push(folder, "org/new", private=True, token="hf_write")
    assert address.startswith(f"{server.url}/org/new/commit/")
    (created,) = server.created
    assert (created["organization"], created["name"], created["visibility"]) == ("org", "new", "private")
    pushed = server.repos["org/new"].commits[server.repos["org/new"].revisions["main"]]
    assert set(pushed) == set(files)
    assert {name: content for name, content in pushed.items() if name != "README.md"} == {
        name: content for name, content in files.items() if name != "README.md"
    }
    card = pushed["README.md"].decode()
    assert "library_name: ebm_refine" in card
    assert 'refine("org/new"' in card
    assert load("org/new").kind == "pair"


@pytest.mark.slow
def test_a_second_push_replaces_the_first(server, folder):
    first = hub.push(folder, "org/new", token="hf_write")
    save_again = folder.parent / "again"
    save_checkpoint(save_again, CONFIG, small_parts(seed=1), "")
    assert hub.push(save_again, "org/new", token="hf_write") != first
    assert load("org/new").hashes == load_checkpoint(save_again).hashes


def test_a_damaged_checkpoint_is_not_pushed(server, files, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "generator.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="sha256"):
        hub.push(tmp_path, "org/new", token="hf_write")
    assert server.log == []


@pytest.mark.parametrize("repo_id", ["new", "org/new/folder", "org/new@v2", "org/ne w", "", "../x"])
def test_a_push_to_no_repo(server, folder, repo_id):
    with pytest.raises(InputError, match="org/name"):
        hub.push(folder, repo_id, token="hf_write")
    assert server.log == []


def test_a_push_without_the_right(server, folder):
    with pytest.raises(InputError, match="log in with `hf auth login`"):
        hub.push(folder, "org/new", token="hf_other")
    with pytest.raises(InputError, match="log in with `hf auth login`"):
        hub.push(folder, "org/new")
    assert "org/new" not in server.repos


def test_a_push_to_a_server_that_is_down(server, folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(InputError, match="cannot be reached"):
        hub.push(folder, "org/new", token="hf_write")
    assert time.monotonic() - started < 10


# --- the card

FULL = {
    **CONFIG,
    "name": "cifar10-dcgan",
    "data": {"shape": [3, 32, 32], "range": [-1, 1], "dataset": "cifar10"},
    "training": {"recipe": "cifar10-dcgan", "steps": 20000, "seed": 0, "device": "CPU", "data": {"sha256": "ab" * 32}},
    "ratio_report": {
        "raw": {"cross_entropy": 0.61234, "z_statistic": 12.5, "mean_weight": 3.0, "effective_sample_share": 0.01,
                "n_real": 2500, "n_fake": 2500},
        "calibrated": {"cross_entropy": 0.5987, "z_statistic": -0.4, "mean_weight": 1.02, "effective_sample_share": 0.2},
    },
    "metrics": [
        {"name": "Fréchet distance, CIFAR-10 ResNet features", "value": 12.345678, "num_images": 5000, "seeds": [0, 1, 2],
         "extractor": "cifar10-features", "extractor_sha256": "cd" * 32, "reference_split": "test", "floor": 1.5,
         "command": "python -m ebm_refine evaluate --model cifar10-dcgan"},
    ],
}  # fmt: skip


def test_the_card_carries_its_numbers_with_all_that_belongs_to_them():
    card = ModelCard(model_card(FULL))
    assert card.data.library_name == "ebm_refine"
    assert card.data.datasets == ["uoft-cs/cifar10"]
    (result,) = card.data.eval_results
    assert result.metric_value == 12.345678
    assert result.metric_args["num_images"] == 5000
    assert result.metric_args["seeds"] == [0, 1, 2]
    assert result.metric_args["extractor_sha256"] == "cd" * 32
    assert (result.dataset_type, result.dataset_split) == ("uoft-cs/cifar10", "test")
    for text in ("| raw | 0.6123 | 12.5 | 3 | 0.01 |", "| calibrated | 0.5987 | -0.4 | 1.02 | 0.2 |", "12.35", "0, 1, 2",
                 "0.693", "python -m ebm_refine evaluate --model cifar10-dcgan", 'refine("cifar10-dcgan"', "cdcdcdcdcdcd",
                 "20000", "energy and log ratio are never a measure of quality", "No number here is an FID"):  # fmt: skip
        assert text in card.content


@pytest.mark.parametrize("missing", [None, *FULL])
def test_a_card_without_some_of_it(missing):
    card = model_card({key: value for key, value in FULL.items() if key != missing} if missing else {})
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "ebm_refine"
    assert text.strip().startswith("# ")


def test_a_card_with_text_that_looks_like_markup():
    card = model_card({**FULL, "title": "A | B: 'x' #y\n---\n", "training": {"note": "a | b\nc"}})
    _, front, _ = card.split("---\n", 2)
    assert yaml.safe_load(front)["tags"]
    assert "| note | a \\| b c |" in card


def test_a_features_card():
    config = {"kind": "features", "name": "cifar10-features", "title": "CIFAR-10 ResNet features", "data": FULL["data"],
              "accuracy": {"test_accuracy": 0.91}, "floors": {"64": {"draws": 10, "kernel_mean": 0.001}}}  # fmt: skip
    card = model_card(config)
    assert "| test_accuracy | 0.91 |" in card
    assert "| 64 | 10 | 0.001 |" in card
    assert "pipeline_tag" not in card
