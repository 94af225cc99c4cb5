"""Energies, joint models and points through everything that pairs go through: pipeline, settings, files, page, command line."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from zscores import LIMIT, mean_score

import ebm_refine
from ebm_refine import catalogue, render
from ebm_refine.cli import main
from ebm_refine.energies.targets import EnergyTarget, target_of
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.evaluation import jobs as evaluation
from ebm_refine.models import networks
from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
from ebm_refine.models.kinds import law_of
from ebm_refine.models.model_card import model_card
from ebm_refine.samplers import METHODS
from ebm_refine.settings import methods_of, resolve

IMAGE, PLANE = [1, 8, 8], [2]
LATENT = 3
LAWS = {
    "energy": "energy",
    "joint": "joint",
    "points-pair": "pair",
    "points-energy": "energy",
    "points-joint": "joint",
    "rbm": "rbm",
    "dbn": "dbn",
}
ENERGIES = [name for name, law in LAWS.items() if law != "pair"]
MACHINES = {"rbm": {"visible": 64, "hidden": 8}, "dbn": {"sizes": [64, 12, 8]}}


def part(role: str, shape: list[int], generates: bool = False, kind: str = "") -> dict[str, Part]:
    if kind in MACHINES:
        name, arguments = kind, MACHINES[kind]
    elif generates:
        output = "linear" if shape == PLANE else "tanh"
        name, arguments = "mlp-generator", {"latent": LATENT, "widths": [8], "shape": shape, "output": output}
    else:
        name, arguments = "mlp-discriminator", {"widths": [8], "shape": shape, "activation": "silu"}
    return {role: Part(name, arguments, networks.build(name, arguments))}


def save_model(folder: Path, name: str, **changes) -> Path:
    """A tiny random model of the sort that LAWS names."""
    torch.manual_seed(0)
    points, law = name.startswith("points"), LAWS[name]
    shape = PLANE if points else IMAGE
    parts = part("energy", shape, kind=name) if law != "pair" else part("discriminator", shape)
    if law in ("pair", "joint"):
        parts |= part("generator", shape, generates=True)
    config = {
        "kind": "points" if points else name,
        "title": f"tiny {name}",
        "data": {"shape": shape, "range": [-2, 2] if points else [-1, 1], "dataset": "moons" if points else "mnist"},
        "defaults": {"langevin": {"eps": 0.01, "n_steps": 4}, "short-run": {"eps": 1.0, "n_steps": 4}, "gibbs": {"n_steps": 4}},
        **({"prior": {"name": "normal", "dim": LATENT}} if law in ("pair", "joint") else {}),
        **changes,
    }
    save_checkpoint(folder / name, config, parts, model_card({**config, "name": name}))
    return folder / name


@pytest.fixture(params=LAWS)
def model(request, tmp_path: Path) -> Path:
    return save_model(tmp_path, request.param)


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All of them in the place of the embedded models."""
    for name in LAWS:
        save_model(tmp_path / "embedded", name)
    monkeypatch.setattr(catalogue, "EMBEDDED", tmp_path / "embedded")
    return tmp_path / "embedded"


def test_law_of_a_model_follows_from_kind_and_parts(tmp_path):
    for name, law in LAWS.items():
        assert law_of(load_checkpoint(save_model(tmp_path, name)).config) == law


def test_methods_by_law(model):
    config = load_checkpoint(model).config
    gradient = {"langevin", "mala", "hmc", "underdamped"}
    if LAWS[model.name] == "pair":
        assert gradient | {"rejection", "mh-gan", "dot"} <= set(methods_of(config))
        assert "short-run" not in methods_of(config)
    elif model.name in MACHINES:
        assert methods_of(config) == ("gibbs",)
    else:
        assert set(methods_of(config)) == gradient | {"short-run"}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.slow
def test_every_fitting_method_refines_and_does_not_depend_on_how_many(name, tmp_path):
    folder = save_model(tmp_path, name)
    methods = methods_of(load_checkpoint(folder).config) if LAWS[name] != "pair" else ("langevin", "rejection")
    for method in methods:
        many, few = (ebm_refine.refine(folder, method, n_steps=3, num_images=count, seed=2) for count in (20, 5))
        assert torch.equal(many.before[:5], few.before)
        assert torch.equal(many.after[:5], few.after)
        assert torch.equal(many.energy_after[:5], few.energy_after)
        if name.startswith("points"):
            assert (many.after.shape, many.after.dtype) == ((20, 2), torch.float32)
        else:
            assert (many.after.shape, many.after.dtype) == ((20, *IMAGE), torch.uint8)
        assert many.energy_after.isfinite().all()
        json.dumps(many.diagnostics, allow_nan=False)
        assert not torch.equal(many.positions, ebm_refine.refine(folder, method, n_steps=3, num_images=20, seed=3).positions)


def test_models_with_an_energy_have_no_ratio(tmp_path):
    for name in ENERGIES:
        result = ebm_refine.refine(save_model(tmp_path, name), num_images=3)
        assert result.ratio_before is None
        assert result.ratio_after is None
        assert result.frames[0].ratio.isnan().all()
        assert "mean_ratio_after" not in result.diagnostics
        assert "not evidence" in result.diagnostics["energy_warning"]


def test_energies_are_those_of_the_positions(tmp_path):
    for name in ENERGIES:
        result = ebm_refine.refine(save_model(tmp_path, name), num_images=3)
        with torch.no_grad():
            energy = result.checkpoint.networks["energy"](result.positions)
        torch.testing.assert_close(result.energy_after, energy, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(result.frames[-1].energy, energy, rtol=1e-4, atol=1e-5)


def test_an_energy_begins_in_uniform_noise_and_decodes_to_what_it_is(tmp_path):
    """Mean and mean square of U(-1, 1) are 0 and 1/3: |z| < LIMIT, false alarm 1.4e-5."""
    target = target_of(load_checkpoint(save_model(tmp_path, "energy")))
    assert isinstance(target, EnergyTarget)
    position = target.init(0, torch.arange(500))
    assert float(position.abs().max()) < 1
    assert abs(mean_score(position.flatten(), 0.0)) < LIMIT
    assert abs(mean_score(position.square().flatten(), 1 / 3)) < LIMIT
    pixels = target.decode(torch.tensor([-1.0, 0.0, 1.0, 3.0]).expand(1, 1, 1, 4))
    assert pixels.flatten().tolist() == [0, 128, 255, 255]


def test_a_machine_begins_in_coin_tosses_and_goes_down_to_means(tmp_path):
    """Of 12 x 500 tosses half are heads: |z| < LIMIT, false alarm 6.8e-6. A single machine's bits are its pixels."""
    belief, single = (load_checkpoint(save_model(tmp_path, name)) for name in ("dbn", "rbm"))
    start = target_of(belief).init(1, torch.arange(500))
    assert set(start.unique().tolist()) == {0.0, 1.0}
    assert abs(mean_score(start.flatten(), 0.5)) < LIMIT
    lower = belief.networks["energy"].stack[0]
    means = torch.sigmoid(start @ lower.weight.T + lower.visible_bias).mul(255).round().unflatten(1, tuple(IMAGE))
    assert (ebm_refine.refine(belief, num_images=500, seed=1).before.float() - means).abs().max() <= 1
    result = ebm_refine.refine(single, num_images=9)
    assert torch.equal(result.after.flatten(1).float(), 255 * result.positions)


def test_a_machine_ignores_eps_and_says_so(tmp_path):
    folder = save_model(tmp_path, "dbn")
    result, given = (ebm_refine.refine(folder, eps=eps, num_images=3) for eps in (None, 0.1))
    assert given.diagnostics["ignored"] == "method gibbs does not use eps"
    assert torch.equal(result.after, given.after)
    assert result.diagnostics["precision"] == "fp32"
    assert "stein_discrepancy" not in ebm_refine.refine(folder, num_images=20).diagnostics
    with pytest.raises(InputError, match="'gibbs' has no temperature"):
        ebm_refine.refine(folder, temperature=1.0)
    with pytest.raises(InputError, match="'langevin' does not work on a model of kind 'dbn'; use gibbs"):
        ebm_refine.refine(folder, "langevin")


def test_points_energy_begins_within_the_range_of_its_data(tmp_path):
    position = target_of(load_checkpoint(save_model(tmp_path, "points-energy"))).init(0, torch.arange(1000))
    assert 1.9 < float(position.abs().max()) < 2


def test_a_joint_model_begins_with_what_its_generator_makes(tmp_path):
    for name in ("joint", "points-joint"):
        result = ebm_refine.refine(save_model(tmp_path, name), "langevin", num_images=4, seed=7)
        generator = result.checkpoint.networks["generator"]
        latents = ebm_refine.samplers.rng.Draws(7, torch.arange(4), 0).normal((LATENT,), ebm_refine.samplers.rng.Stream.INIT)
        with torch.no_grad():
            samples = generator(latents)
        if name == "joint":
            samples = samples.add(1).mul(127.5).round().to(torch.uint8).int()
        assert (result.before.to(samples.dtype) - samples).abs().max() <= (1 if name == "joint" else 1e-5)


@pytest.mark.slow
def test_five_files_and_settings_that_repeat_the_run(model, tmp_path):
    result = ebm_refine.refine(model, num_images=6, seed=3)
    result.save(tmp_path / "one")
    settings = json.loads((tmp_path / "one" / "settings.json").read_text())
    settings.pop("model")
    ebm_refine.refine(model, **settings).save(tmp_path / "two")
    for file in ("before.png", "after.png", "samples.npz", "settings.json", "metrics.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    arrays = np.load(tmp_path / "one" / "samples.npz")
    assert ("ratio_after" in arrays) == (LAWS[model.name] == "pair")


@pytest.mark.slow
def test_a_method_that_needs_what_a_model_lacks_is_refused_in_one_sentence(tmp_path):
    for name in ENERGIES:
        folder = save_model(tmp_path, name)
        for method in METHODS.keys() - set(methods_of(load_checkpoint(folder).config)):
            with pytest.raises(InputError, match=f"method '{method}' does not work on a model of kind"):
                ebm_refine.refine(folder, method)
    with pytest.raises(InputError, match="'short-run' does not work"):
        ebm_refine.refine(save_model(tmp_path, "points-pair"), "short-run")


def test_a_ratio_or_beta_for_a_model_without_one_is_refused(tmp_path):
    config = load_checkpoint(save_model(tmp_path, "energy")).config
    with pytest.raises(InputError, match="ratio must be auto and beta 1; got ratio 'raw'"):
        resolve("m", config, ratio="raw")
    with pytest.raises(InputError, match=r"ratio must be auto and beta 1; got beta 0\.5"):
        resolve("m", config, beta=0.5)
    with pytest.raises(InputError, match="beta must be a number"):
        resolve("m", config, beta=math.nan)
    assert resolve("m", config, ratio=None).ratio == "auto"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("energy", {"data": {"shape": [1, 9, 9], "range": [-1, 1], "dataset": "mnist"}}, "the energy does not fit the data"),
        ("energy", {"data": {"shape": IMAGE, "range": [1, -1], "dataset": "mnist"}}, "range must be"),
        ("energy", {"data": {"shape": IMAGE, "range": "all", "dataset": "mnist"}}, "range must be"),
        ("dbn", {"data": {"shape": [1, 8, 9], "range": [-1, 1], "dataset": "mnist"}}, "with as many pixels as"),
        ("energy", {"kind": "rbm"}, "must be an RBM or a DBN"),
        ("energy", {"kind": "joint", "prior": {"name": "normal", "dim": 3}}, "of kind 'joint' needs a part 'generator'"),
        ("energy", {"kind": "pair", "prior": {"name": "normal", "dim": 3}}, "of kind 'pair' needs a part 'generator'"),
        ("joint", {"prior": None}, "prior must be"),
        ("joint", {"prior": {"name": "normal", "dim": 5}}, "takes latents of 3"),
        ("points-joint", {"data": {"shape": [3], "range": [-1, 1], "dataset": "moons"}}, "but the generator makes"),
    ],
)
def test_configs_that_do_not_fit_are_refused(tmp_path, name, changes, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(save_model(tmp_path, name, **changes))


def test_evaluation_plans_one_job_a_method_without_ratios(tmp_path):
    checkpoint = load_checkpoint(save_model(tmp_path, "energy"))
    jobs = evaluation.plan(checkpoint, ["langevin", "short-run"], 10, [0, 1])
    assert [(job.method, job.ratio, job.seed) for job in jobs] == [
        ("langevin", "auto", 0), ("langevin", "auto", 1), ("short-run", "auto", 0), ("short-run", "auto", 1)]  # fmt: skip


def test_command_line_refines_and_lists_every_kind(embedded, tmp_path, capsys):
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    for name in LAWS:
        assert name in listed
        out = tmp_path / f"out-{name}"
        assert main(["refine", "--model", name, "--num-images", "3", "--n-steps", "2", "--out", str(out)]) == 0
        assert Image.open(out / "after.png").width > 8
        metrics = json.loads((out / "metrics.json").read_text())
        if name.startswith("points"):
            assert metrics["earth_movers_distance"]["after"] >= 0
        else:
            assert "no feature extractor" in metrics["note"]
    assert main(["refine", "--model", "energy", "--beta", "0.5", "--out", str(tmp_path / "x")]) == 2


@pytest.mark.slow
def test_the_page_runs_every_kind(embedded):
    """What the Refine tab and `/refine` do, without a browser: live pictures, the record, every view of it, the bundle."""
    from ebm_refine.ui.tabs.refine import pictures as viewing
    from ebm_refine.ui.tabs.refine.job import Finished, Live, run
    from ebm_refine.ui.tabs.refine.results import BEFORE

    for name, law in LAWS.items():
        items = [item for item in run(name, {"num_images": 70, "n_steps": 3}) if item is not None]
        live, (end,) = [i for i in items if isinstance(i, Live)], [i for i in items if isinstance(i, Finished)]
        assert all(isinstance(moment.picture, Image.Image) for moment in live)
        assert law in BEFORE
        record = end.record
        assert (record.bounds == (-2, 2)) if name.startswith("points") else (record.bounds is None)
        for order in viewing.ORDERS:
            both = viewing.sheets(record, order, captions=True)
            assert both.before.size == both.after.size
        pictures, steps = viewing.film_pictures(record)
        assert len(pictures) == len(steps) == 4
        for number in (0, 69):
            frames, _ = viewing.tile_pictures(record, number)
            assert len(frames) >= 2
            assert f"Image {number}: energy" in viewing.tile_words(record, number)
            assert viewing.tile_frame(record, number)["energy"].notna().all()
        assert (viewing.ratio_frame(record, 0) is None) == (law != "pair")
        assert len(viewing.energy_frame(record)) == 3 * len(record.steps)
        assert record.metrics["diagnostics"]["steps"] == 3


@pytest.mark.slow
def test_the_page_shows_controls_for_every_kind(embedded):
    """Ratio and beta are hidden where there is none, and only fitting methods are offered."""
    from ebm_refine.ui import build
    from ebm_refine.ui.api.refine import models
    from ebm_refine.ui.tabs.refine import presets
    from ebm_refine.ui.tabs.refine import share_link as links
    from ebm_refine.ui.tabs.refine.job import checked, model_named

    build()
    for model in models():
        law = LAWS[model["name"]]
        assert ("rejection" in model["methods"]) == (law == "pair")
        settings = checked(model["name"], {})
        again = links.settings_from(dict(item.split("=") for item in links.query_of(settings)[1:].split("&")))
        assert again == settings
        for arguments in presets.presets(model_named(model["name"])).values():
            checked(model["name"], arguments)


def test_scatter_puts_points_where_they_are():
    picture = np.asarray(render.scatter(torch.tensor([[-2.0, -2.0], [9.0, 0.0], [math.nan, 0.0]]), (-2, 2), side=101))
    ink = (picture != np.array(render.PAPER)).any(axis=2)
    rows, columns = ink.nonzero()
    assert rows.min() > 90  # below, as the second coordinate points upwards
    assert columns.max() < 10
    marked = render.scatter(torch.zeros(1, 2), (-2, 2), side=101, mark=0)
    assert marked.getpixel((50, 50)) == render.MARK
    render.png(marked)
    assert Image.open(io.BytesIO(render.png(marked))).size == (101, 101)
