"""Checkpoints: what is written comes back, a failed save harms nothing, and whatever is wrong gets one clear sentence."""

import hashlib
import json
import os
import pickle
import tracemalloc

import pytest
import torch
from safetensors.torch import load_file, save_file
from safetensors.torch import save as packed

from ebm_refine import catalogue
from ebm_refine.energies.targets import target_of
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
from ebm_refine.models.config import read_config
from ebm_refine.models.networks import build

CONFIG = {
    "kind": "pair",
    "title": "A small pair",
    "prior": {"name": "normal", "dim": 8},
    "data": {"shape": [1, 16, 16], "range": [-1, 1], "dataset": "noise"},
    "discriminator_output": "logit",
    "calibration": {"slope": 0.5, "intercept": 0.1},
}
GENERATOR = {"latent": 8, "widths": [8, 4], "channels": 1}
DISCRIMINATOR = {"widths": [4, 8], "channels": 1}


def small_parts(seed=0):
    torch.manual_seed(seed)
    return {
        "generator": Part("dcgan-generator", GENERATOR, build("dcgan-generator", GENERATOR).eval()),
        "discriminator": Part("dcgan-discriminator", DISCRIMINATOR, build("dcgan-discriminator", DISCRIMINATOR).eval()),
    }


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "pair", CONFIG, small_parts(), "# A card\n")
    return tmp_path / "pair"


def rewrite(folder, **changes):
    """Put `changes` into config.json; a value of None takes the key away; a dotted key goes down."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    for key, value in changes.items():
        *path, last = key.split("__")
        place = config
        for name in path:
            place = place[name]
        if value is None:
            del place[last]
        else:
            place[last] = value
    file.write_text(json.dumps(config))


def rewrite_weights(folder, change, role="generator"):
    """Let `change` edit a part's tensors, and put the new hash into the config, so that only the content is wrong."""
    file = folder / f"{role}.safetensors"
    weights = load_file(file)
    change(weights)
    file.unlink()
    save_file(weights, file)
    rewrite(folder, **{f"parts__{role}__sha256": hashlib.sha256(file.read_bytes()).hexdigest()})


def refusal(folder):
    """The sentence with which `folder` is refused; any other error fails the test."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert "Traceback" not in message
    assert str(folder) in message
    return message


def test_networks_come_back_as_saved(tmp_path):
    parts = small_parts()
    table = {"mean": torch.randn(3, dtype=torch.float64)}
    save_checkpoint(tmp_path / "pair", CONFIG, parts, "# A card\n", {"reference": table}, dtype=torch.float32)
    loaded = load_checkpoint(tmp_path / "pair")
    assert (loaded.name, loaded.kind) == ("pair", "pair")
    assert loaded.config["calibration"] == CONFIG["calibration"]
    assert torch.equal(loaded.tables["reference"]["mean"], table["mean"])
    latents = torch.randn(4, 8)
    for role, part in parts.items():
        network = loaded.networks[role]
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert loaded.hashes[role] == hashlib.sha256((tmp_path / "pair" / f"{role}.safetensors").read_bytes()).hexdigest()
        given = latents if role == "generator" else parts["generator"].network(latents)
        torch.testing.assert_close(network(given), part.network(given), rtol=0, atol=0)
    assert target_of(loaded, "calibrated").energy(latents).shape == (4,)


def test_weights_can_be_read_by_whoever_may_read_the_card(folder):
    rights = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert len(set(rights.values())) == 1, rights


def test_half_precision_is_stored_and_float32_returned(folder):
    stored = load_file(folder / "generator.safetensors")
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float16}
    network = load_checkpoint(folder).networks["generator"]
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_number_too_large_for_half_precision_survives(tmp_path):
    parts = small_parts()
    parts["generator"].network.main[1].running_var.fill_(1e6)
    save_checkpoint(tmp_path / "pair", CONFIG, parts, "")
    assert float(load_checkpoint(tmp_path / "pair").networks["generator"].main[1].running_var[0]) == 1e6


@pytest.mark.parametrize("length", [0x1080, 0x280 + 0x1000, 0x5080])
def test_a_header_whose_length_begins_like_a_pickle(folder, length):
    file = folder / "generator.safetensors"
    content = file.read_bytes()
    old = int.from_bytes(content[:8], "little")
    file.write_bytes(length.to_bytes(8, "little") + content[8 : 8 + old].ljust(length) + content[8 + old :])
    assert file.read_bytes()[0] == 0x80
    rewrite(folder, parts__generator__sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    load_checkpoint(folder)


# --- damaged files


def test_truncated_weights(folder):
    file = folder / "generator.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert f"{file} is damaged or has been changed: its sha256" in refusal(folder)


def test_one_flipped_bit(folder):
    file = folder / "discriminator.safetensors"
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    file.write_bytes(content)
    assert f"{file} is damaged or has been changed: its sha256" in refusal(folder)


def test_truncated_weights_with_a_matching_hash(folder):
    file = folder / "generator.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    rewrite(folder, parts__generator__sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    assert f"{file} is not a readable safetensors file" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"\0", b"garbage", b"\xff" * 64, (2**40).to_bytes(8, "little") + b"{}"])
def test_nonsense_for_weights(folder, content):
    file = folder / "generator.safetensors"
    file.write_bytes(content)
    rewrite(folder, parts__generator__sha256=hashlib.sha256(content).hexdigest())
    assert f"{file} is not a readable safetensors file" in refusal(folder)


def test_missing_weights(folder):
    (folder / "discriminator.safetensors").unlink()
    assert "discriminator.safetensors is missing or unreadable" in refusal(folder)


@pytest.mark.parametrize("how", ["torch", "legacy", "bare"])
def test_a_pickle_is_never_read(folder, how):
    file = folder / "generator.safetensors"
    weights = {"main.0.weight": torch.zeros(2, 2)}
    if how == "bare":
        file.write_bytes(pickle.dumps(list(range(10))))
    else:
        torch.save(weights, file, _use_new_zipfile_serialization=how == "torch")
    for matching in (False, True):
        if matching:
            rewrite(folder, parts__generator__sha256=hashlib.sha256(file.read_bytes()).hexdigest())
        assert f"{file} is a pickle, which is never read here" in refusal(folder)


@pytest.mark.parametrize("name", ["generator.safetensors", "config.json"])
def test_a_git_lfs_pointer(folder, name):
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    message = refusal(folder)
    assert f"{folder / name} is a Git-LFS pointer" in message
    assert "git lfs pull" in message


@pytest.mark.parametrize(
    "name",
    ["../generator.safetensors", "/etc/hostname", "./generator.safetensors", "..\\x.safetensors", "a/b.safetensors", "..",
     "", ".safetensors/", "generator.bin", 3, None,
     ["x"], "a\0.safetensors", "x" * 5000 + ".safetensors"],
)  # fmt: skip
def test_a_weights_file_lies_beside_its_config(folder, name):
    (folder.parent / "generator.safetensors").write_bytes((folder / "generator.safetensors").read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["parts"]["generator"]["file"] = name
    (folder / "config.json").write_text(json.dumps(config))
    assert "must name a .safetensors file beside it" in refusal(folder)


# --- weights that do not fit


def test_a_missing_key(folder):
    rewrite_weights(folder, lambda weights: weights.pop("main.0.weight"))
    assert "Missing key(s) in state_dict" in refusal(folder)


def test_an_extra_key(folder):
    rewrite_weights(folder, lambda weights: weights.update(extra=torch.zeros(1)))
    assert "Unexpected key(s) in state_dict" in refusal(folder)


def test_a_wrong_shape(folder):
    rewrite_weights(folder, lambda weights: weights.update({"main.0.weight": torch.zeros(8, 8, 5, 5)}))
    assert "size mismatch for main.0.weight" in refusal(folder)


def test_whole_numbers_where_fractions_belong(folder):
    rewrite_weights(folder, lambda weights: weights.update({"main.0.weight": torch.zeros(8, 8, 4, 4, dtype=torch.int8)}))
    assert "main.0.weight is of type torch.int8" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(folder, value):
    rewrite_weights(folder, lambda weights: weights["main.0.weight"].fill_(value))
    assert "main.0.weight holds numbers that are not finite" in refusal(folder)


@pytest.mark.parametrize("architecture", ["dcgan-critic", "torch.nn.Linear", "", 3, None, ["x"], {"a": 1}])
def test_an_unknown_architecture(folder, architecture):
    config = json.loads((folder / "config.json").read_text())
    config["parts"]["generator"]["architecture"] = architecture
    (folder / "config.json").write_text(json.dumps(config))
    message = refusal(folder)
    assert "unknown architecture" in message or "needs an architecture by name" in message


@pytest.mark.parametrize(
    "arguments",
    [{}, {"widths": [8, 4]}, {**GENERATOR, "depth": 3}, {**GENERATOR, "stem": "magic"}, {**GENERATOR, "widths": []},
     {**GENERATOR, "widths": "ab"}, {**GENERATOR, "widths": None}, {**GENERATOR, "widths": {"a": 1}},
     {**GENERATOR, "widths": [-8, 4]}, {**GENERATOR, "widths": [8.5, 4]}, {**GENERATOR, "last_kernel": 9},
     {**GENERATOR, "latent": [[8]]}, [8], "x", None, 7],
)  # fmt: skip
def test_wrong_arguments(folder, arguments):
    config = json.loads((folder / "config.json").read_text())
    config["parts"]["generator"]["arguments"] = arguments
    (folder / "config.json").write_text(json.dumps(config))
    message = refusal(folder)
    assert "part 'generator'" in message


@pytest.mark.parametrize("widths", [[10**9, 10**9], [10**18] * 3, [8] * 100_000, [2**16, 2**16]])
def test_absurd_widths_cost_nothing(folder, widths):
    rewrite(folder, parts__generator__arguments__widths=widths)
    tracemalloc.start()
    message = refusal(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "absurdly large" in message or "size mismatch" in message
    assert peak < 20_000_000


def test_a_generator_in_the_discriminators_place(folder):
    config = json.loads((folder / "config.json").read_text())
    config["parts"]["discriminator"] = config["parts"]["generator"]
    (folder / "config.json").write_text(json.dumps(config))
    assert "generator and discriminator do not fit each other" in refusal(folder)


def test_a_latent_of_another_size(folder):
    rewrite(folder, prior__dim=9)
    assert "prior.dim is 9, but the generator takes latents of 8" in refusal(folder)


def test_another_image_shape(folder):
    rewrite(folder, data__shape=[1, 32, 32])
    assert "data.shape is [1, 32, 32], but the generator makes [1, 16, 16]" in refusal(folder)


# --- configs


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"nonsense", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5000, b'"text"', b"[1, 2]", b"null", b"NaN"],
)
def test_a_config_that_is_no_json_object(folder, content):
    (folder / "config.json").write_bytes(content)
    message = refusal(folder)
    assert "is not readable JSON" in message or "format must be 1; got no object" in message


def test_a_huge_config(folder):
    (folder / "config.json").write_bytes(b" " * (5 * 2**20))
    assert "is larger than 4 MB" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": None}, "format must be 1; got None"),
        ({"format": 2}, "format must be 1; got 2"),
        ({"format": "1"}, "format must be 1; got '1'"),
        ({"kind": None}, "kind must be one of"),
        ({"kind": ["pair"]}, "kind must be one of"),
        ({"kind": "gan"}, "kind must be one of"),
        ({"parts": None}, "parts must name at least one network"),
        ({"parts": {}}, "parts must name at least one network"),
        ({"parts": [1]}, "parts must name at least one network"),
        ({"parts__generator": None}, "needs a part 'generator'"),
        ({"parts__discriminator": None}, "needs a part 'discriminator'"),
        ({"parts__judge": {}}, "a part's role must be one of"),
        ({"parts__generator": "x"}, "needs architecture, arguments, file and sha256"),
        ({"parts__generator__sha256": None}, "needs architecture, arguments, file and sha256"),
        ({"parts__generator__sha256": 5}, "its sha256 is not the one in config.json"),
        ({"data": None}, "data must give shape, range and dataset"),
        ({"data": 3}, "data must give shape, range and dataset"),
        ({"data__shape": None}, "data must give shape, range and dataset"),
        ({"data__shape": 16}, "data.shape must be a list of sizes"),
        ({"data__shape": [1, 16, "16"]}, "data.shape must be a list of sizes"),
        ({"data__shape": [1, 16, -16]}, "data.shape must be a list of sizes"),
        ({"data__shape": [1, 16, 10**9]}, "data.shape must be a list of sizes"),
        ({"prior": None}, "prior must be"),
        ({"prior__name": "cauchy"}, "prior must be"),
        ({"labels": {"count": 1}}, "labels must be"),
        ({"labels": {"count": 2, "probabilities": [0.5, 0.6]}}, "labels must be"),
        ({"prior__dim": "8"}, "prior must be"),
        ({"prior__dim": True}, "prior must be"),
        ({"calibration": {"slope": 1.0}}, "calibration must be"),
        ({"calibration": {"slope": "1", "intercept": 0}}, "calibration must be"),
        ({"calibration": {"slope": float("nan"), "intercept": 0}}, "calibration must be"),
        ({"calibration": {"slope": 10**400, "intercept": 0}}, "calibration must be"),
        ({"calibration": {"slope": 1, "intercept": 0, "extra": 0}}, "calibration must be"),
        ({"tables": [1]}, "tables must be an object"),
        ({"tables": {"reference": "x"}}, "tables must be an object"),
        ({"tables": {"reference": {}}}, "must name a .safetensors file beside it"),
        ({"tables": {"reference": {"file": "none.safetensors", "sha256": ""}}}, "is missing or unreadable"),
        ({"defaults": 3}, "defaults must be an object"),
        ({"defaults": {"langevin": [1]}}, "defaults must be an object"),
    ],
)
def test_a_config_that_says_something_wrong(folder, change, expected):
    rewrite(folder, **change)
    assert expected in refusal(folder)


def test_no_checkpoint_at_all(tmp_path):
    assert "is no checkpoint: it has no config.json" in refusal(tmp_path)
    (tmp_path / "config.json").mkdir()
    assert "cannot be read: Is a directory" in refusal(tmp_path)


# --- writing


def test_a_failed_save_leaves_the_old_checkpoint_whole(folder, monkeypatch):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    calls = []

    def fail_at_second(weights):
        if calls:
            raise OSError(28, "No space left on device")
        calls.append(weights)
        return packed(weights)

    monkeypatch.setattr("ebm_refine.models.checkpoint.packed", fail_at_second)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(folder, CONFIG, small_parts(seed=1), "# Another card\n")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["pair"]


def test_a_config_that_cannot_be_written_leaves_the_old_checkpoint_whole(folder):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(TypeError):
        save_checkpoint(folder, {**CONFIG, "training": {"when": object()}}, small_parts(seed=1), "")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["pair"]


def test_the_old_checkpoint_returns_where_the_last_rename_fails(folder, monkeypatch):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    replace = os.replace

    def refuse_the_new(source, target):
        if str(source).endswith(".part"):
            raise OSError(5, "Input/output error")
        replace(source, target)

    # As on a file system where two folders cannot change names in one step.
    monkeypatch.setattr("ebm_refine.utils.atomic_io._exchange", lambda one, other: False)
    monkeypatch.setattr("ebm_refine.utils.atomic_io.os.replace", refuse_the_new)
    with pytest.raises(OSError, match="Input/output"):
        save_checkpoint(folder, CONFIG, small_parts(seed=1), "")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["pair"]


def test_a_save_replaces_the_whole_folder(folder):
    (folder / "left-over.safetensors").write_bytes(b"old")
    save_checkpoint(folder, CONFIG, small_parts(seed=1), "# New\n")
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md", "config.json", "discriminator.safetensors", "generator.safetensors"
    ]  # fmt: skip
    assert [path.name for path in folder.parent.iterdir()] == ["pair"]


def test_a_file_in_the_way_of_a_save(tmp_path):
    (tmp_path / "pair").write_text("mine")
    with pytest.raises(InputError, match="is a file; name a folder"):
        save_checkpoint(tmp_path / "pair", CONFIG, small_parts(), "")
    with pytest.raises(InputError, match="cannot be written"):
        save_checkpoint(tmp_path / "pair" / "deeper", CONFIG, small_parts(), "")
    assert (tmp_path / "pair").read_text() == "mine"


# --- the catalogue


def test_only_readable_checkpoints_are_listed(folder, monkeypatch):
    monkeypatch.setattr(catalogue, "EMBEDDED", folder.parent)
    (folder.parent / "broken").mkdir()
    (folder.parent / "broken" / "config.json").write_text("{")
    (model,) = catalogue.list_models()
    assert (model.name, model.kind, model.dataset, model.shape) == ("pair", "pair", "noise", (1, 16, 16))
    assert "langevin" in model.methods
    assert catalogue.load("pair").name == "pair"
    with pytest.raises(CheckpointError, match="not readable JSON"):
        catalogue.load("broken")


def test_a_folder_is_loaded_by_path(folder):
    assert catalogue.load(folder).name == "pair"
    assert catalogue.load(str(folder)).name == "pair"
    assert read_config(folder)["title"] == "A small pair"


@pytest.mark.parametrize("name", ["", None, 7, True, [], "no-such-model", "a" * 5000, "a\0b", "\ud800", "..", "~", "a b"])
def test_an_unknown_model(name):
    with pytest.raises(InputError, match=r"model must be|no checkpoint") as caught:
        catalogue.load(name)
    assert len(str(caught.value)) < 700


def test_a_path_with_a_slip_in_it_is_no_question_for_the_hub(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    here = folder.parent.name
    for name, said in [
        ("./no/such/folder", f"there is no 'no' in '{folder.parent.parent}'"),
        (f"{here}/pear", f"there is no 'pear' in '{folder.parent}'"),
        (folder / "config.json", "this is a file; name the folder"),
    ]:
        with pytest.raises(InputError, match=r"^model must be a checkpoint's folder; ") as caught:
            catalogue.load(name)
        assert said in str(caught.value)


def test_saved_bytes_are_a_function_of_the_networks(tmp_path):
    for name in ("one", "two"):
        save_checkpoint(tmp_path / name, CONFIG, small_parts(), "# A card\n")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
