"""Refitting a ratio: it finds a known log ratio, does not saturate, resumes to the bit, and joins a checkpoint unharmed."""

import functools
import importlib
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from conftest import killed_at_the_second_save, tiny_pair_config, tiny_pair_parts
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture
from torch import Tensor, nn

from ebm_refine import load, refine
from ebm_refine.cli import main
from ebm_refine.data.images import Images
from ebm_refine.energies.targets import REAL_RATIOS, real_ratios
from ebm_refine.errors import InputError
from ebm_refine.metrics.ratio_spread import ratio_spread
from ebm_refine.models.checkpoint import Checkpoint, Part, load_checkpoint, save_checkpoint
from ebm_refine.models.networks import build
from ebm_refine.models.networks.ratio import FeatureRatio, RatioHead, RatioNetwork
from ebm_refine.models.ratio_file import weights_hash
from ebm_refine.models.refits import REFITS
from ebm_refine.training.algorithms import feature_ratio as feature_module
from ebm_refine.training.algorithms import ratio_learning as module
from ebm_refine.training.algorithms.feature_ratio import Body, HeadRecipe, Rows, features_of, rows_of, train_head
from ebm_refine.training.algorithms.ratio_learning import RatioRecipe, Sides, sides_of, squared_gradient, train_ratio
from ebm_refine.training.common.job import Job
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.scores import Halves, calibrate_last_layer, ratio_entries
from ebm_refine.training.common.stopping import Stopping, train_to_lowest
from ebm_refine.training.pipelines import ratio_refits as refits_module
from ebm_refine.training.pipelines.ratio_refits import length_of, with_hidden_layers

RECIPE = RatioRecipe(steps=40, batch_size=16, measure_every=10, patience=10)
GREY = 127.5


def shades(mean: float, count: int, seed: int, size: int = 8) -> Tensor:
    """Images (count, 3, size, size) of one shade each, N(mean, 0.25) in [-1, 1], under faint noise; and their shades."""
    source = torch.Generator().manual_seed(seed)
    shade = mean + 0.25 * torch.randn(count, 1, 1, 1, generator=source)
    images = (shade + 0.02 * torch.randn(count, 3, size, size, generator=source)).clamp(-1, 1)
    return images.add(1).mul(GREY).round().to(torch.uint8)


def true_ratio(images: Tensor) -> Tensor:
    """log N(s; 0.125, 0.25) - log N(s; -0.125, 0.25) = 4 s, of the shade s of each image."""
    return 4 * (images.float() / GREY - 1).mean(dim=(1, 2, 3))


def small_network() -> RatioNetwork:
    torch.manual_seed(0)
    return RatioNetwork((8, 8), 3, 8)


def small_run(folder: Path, recipe: RatioRecipe, resume: bool = False) -> tuple[RatioNetwork, dict]:
    network = small_network()
    images = [shades(mean, 200, seed) for seed, mean in enumerate((0.125, -0.125, 0.125, -0.125))]
    measured = train_ratio(network, recipe, *images, Run(folder, resume=resume), 3, "cpu")
    return network, measured


def test_a_fresh_ratio_knows_nothing_and_depends_on_each_image_alone():
    images = torch.randn(5, 3, 32, 32)
    small = {"in_channels": 3, "widths": [8, 8, 8], "classes": 10}
    for network in (RatioNetwork(), RatioHead(), FeatureRatio("resnet-classifier", small).eval()):
        assert torch.equal(network(images), torch.zeros(5))
        nn.init.normal_(network.last.weight)
        together = network(images)
        assert together.std() > 0
        assert torch.allclose(together[2:3], network(images[2:3]), atol=1e-5)


def test_the_shipped_network_fits_into_half_a_megabyte():
    weights = RatioNetwork([32, 64, 88], 3, 64).state_dict().values()
    assert sum(2 * value.numel() for value in weights) <= 500_000


@pytest.mark.slow
def test_training_finds_a_known_log_ratio(tmp_path):
    """r = 4 s. After training and calibration the slope of r on the truth is 1 within the noise of 2,000 + 2,000 images."""
    train, pool, holdout, fakes = (shades(m, 2000, seed) for seed, m in enumerate((0.125, -0.125, 0.125, -0.125)))
    network = small_network()
    recipe = RatioRecipe(steps=400, batch_size=64, shift=0.0, penalty=0.01, measure_every=100, rate=5e-3)
    measured = train_ratio(network, recipe, train, pool, holdout, fakes, Run(tmp_path, resume=False), 0, "cpu")
    with torch.no_grad():
        scores = Halves(network(holdout.float() / GREY - 1), network(fakes.float() / GREY - 1))
        calibrate_last_layer(network, network.last, scores)
        fresh = torch.cat([shades(0.125, 500, 10), shades(-0.125, 500, 11)])
        r, truth = network(fresh.float() / GREY - 1), true_ratio(fresh)
    softplus = nn.functional.softplus
    optimal = float((softplus(-true_ratio(holdout)).mean() + softplus(true_ratio(fakes)).mean()) / 2)
    assert measured["holdout_cross_entropy"] < optimal + 0.02  # chance is 0.693, the optimum about 0.58
    covariance = torch.cov(torch.stack([r, truth]))
    assert float(covariance[0, 1] / covariance[1, 1]) == pytest.approx(1.0, abs=0.15)
    assert float((r - truth).square().mean().sqrt()) < 0.35


@pytest.mark.slow
def test_the_penalty_bounds_the_gradient(tmp_path):
    """Two laws that never overlap: without a penalty r grows as long as it is trained, with one it does not saturate."""
    train, pool = shades(0.9, 200, 0).clamp(min=200), shades(-0.9, 200, 1).clamp(max=50)
    spread = []
    for name, penalty in (("free", 0.0), ("held", 1.0)):
        recipe = RatioRecipe(
            steps=150, batch_size=32, shift=0.0, penalty=penalty, measure_every=50, rate=5e-3, weight_decay=0.0
        )
        network = small_network()
        train_ratio(network, recipe, train, pool, train, pool, Run(tmp_path / name, resume=False), 0, "cpu")
        with torch.no_grad():
            spread.append(float((network(train.float() / GREY - 1).mean() - network(pool.float() / GREY - 1).mean()) / 2))
    assert spread[0] > 6.0
    assert spread[1] < 0.6 * spread[0]


def test_squared_gradient_of_a_linear_score():
    images = torch.randn(6, 3, 4, 4, requires_grad=True)
    weight = torch.randn(3, 4, 4, requires_grad=True)
    penalty = squared_gradient((images * weight).sum(dim=(1, 2, 3)), images)
    assert torch.allclose(penalty, weight.square().sum())
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert torch.allclose(gradient, 2 * weight)


@pytest.mark.slow
def test_a_resumed_ratio_equals_an_uninterrupted_one_to_the_bit(tmp_path, monkeypatch):
    whole, measured = small_run(tmp_path / "whole", RECIPE)
    with killed_at_the_second_save(monkeypatch) as saves:
        small_run(tmp_path / "cut", RECIPE)
    cut, measured_again = small_run(tmp_path / "cut", RECIPE, resume=True)
    assert saves == [10, 20]
    assert measured == measured_again
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), cut.state_dict().values(), strict=True))
    assert (tmp_path / "whole" / "log.jsonl").read_text() == (tmp_path / "cut" / "log.jsonl").read_text()


def counted(values: list[float], stopping: Stopping, folder: Path) -> tuple[dict, int]:
    """The loop with measurements as given; its network counts its updates."""
    network, given = nn.Linear(1, 1, bias=False), iter(values)
    nn.init.zeros_(network.weight)

    def update(step: int) -> None:
        with torch.no_grad():
            network.weight.add_(1)

    best = train_to_lowest(
        {"network": network}, "network", update, lambda: {"loss": next(given)}, stopping, Run(folder, resume=True), "test"
    )
    return best, int(best["weights"]["weight"].item())


def test_training_stops_where_nothing_falls_any_more_and_keeps_the_best(tmp_path):
    best, updates = counted([3.0, 1.0, 2.0, 1.5, 0.0], Stopping(50, 10, 2), tmp_path / "patience")
    assert (best["step"], best["steps_run"], updates) == (20, 40, 20)
    assert best["measured"] == {"loss": 1.0}
    best, updates = counted([3.0, 1.0], Stopping(20, 10, 2), tmp_path / "end")
    assert (best["step"], best["steps_run"], updates) == (20, 20, 20)
    best, _ = counted([math.nan, 1.0, math.nan], Stopping(30, 10, 5), tmp_path / "holes")
    assert best["step"] == 20
    with pytest.raises(InputError, match="test diverged"):
        counted([math.nan] * 3, Stopping(30, 10, 9), tmp_path / "nan")


def test_calibration_of_the_last_layer_is_logistic_calibration():
    torch.manual_seed(0)
    real, fake = torch.randn(2000, 1) + 0.5, torch.randn(2000, 1) - 0.5
    last = nn.Linear(1, 1)
    with torch.no_grad():
        last.weight.fill_(3.0), last.bias.fill_(0.7)
        before = Halves(last(real).squeeze(1), last(fake).squeeze(1))
        fit = calibrate_last_layer(last, last, before)
        assert torch.allclose(last(real).squeeze(1), fit["slope"] * before.on_real + fit["intercept"], atol=1e-5)
    assert last.weight.item() == pytest.approx(1.0, abs=0.15)  # the truth is r = x


def test_entries_report_on_the_half_that_fits_nothing_and_keep_a_calibration():
    class Brightness(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return 4 * images.mean(dim=(1, 2, 3))

    holdout, fakes = shades(0.125, 400, 0), shades(-0.125, 400, 1)
    wrong = {"slope": 2.0, "intercept": 5.0}
    networks = {"discriminator": Brightness(), "ratio": Brightness()}
    entries, stored = ratio_entries(networks, {"calibration": wrong}, holdout, fakes)
    assert entries["calibration"] == wrong
    assert set(entries["ratio_report"]) == set(stored) == {"raw", "calibrated", "isotonic", "refitted"}
    assert entries["ratio_report"]["raw"]["n_real"] == 200
    assert torch.allclose(stored["raw"], true_ratio(holdout[200:]), atol=1e-4)
    assert torch.allclose(stored["calibrated"], 2 * stored["raw"] + 5)
    assert torch.equal(stored["refitted"], stored["raw"])
    fitted, _ = ratio_entries(networks, {}, holdout, fakes)
    assert fitted["calibration"]["slope"] == pytest.approx(1.0, abs=0.3)
    critic, _ = ratio_entries(
        {"discriminator": Brightness()}, {"discriminator_output": "critic", "critic_slope": 0.1}, holdout, fakes
    )
    assert critic["calibration"]["slope"] == pytest.approx(10 * fitted["calibration"]["slope"], rel=1e-3)
    for report in (critic["ratio_report"], fitted["ratio_report"]):
        assert report["calibrated"]["cross_entropy"] < 0.69


def parquet(folder: Path) -> Path:
    folder.mkdir()
    for name, count in (("train-0.parquet", 300), ("test-0.parquet", 5)):
        images = shades(0.3, count, count, size=32).permute(0, 2, 3, 1).numpy()
        rows = {"img": [Picture.fromarray(image) for image in images], "label": [0] * count}
        Dataset.from_dict(rows, features=Features({"img": Image(), "label": Value("int64")})).to_parquet(str(folder / name))
    return folder


@pytest.fixture
def short(monkeypatch) -> None:
    """Recipes that a test can wait for."""
    make = module.RatioRecipe
    monkeypatch.setattr(module, "RatioRecipe", lambda steps, **given: make(steps=steps, batch_size=8, measure_every=5, **given))
    small = Body("resnet-classifier", {"in_channels": 3, "widths": [8, 8, 8], "classes": 10}, 1)
    for other in (feature_module, refits_module):
        monkeypatch.setattr(other, "HeadRecipe", functools.partial(HeadRecipe, batch_size=8, measure_every=5))
        monkeypatch.setattr(other, "BODIES", {"cifar10": small})


@pytest.mark.parametrize("recipe", ["ratio", "ratio-head", "feature-ratio"])
@pytest.mark.slow
def test_train_ratio_adds_a_ratio_and_leaves_every_other_file_as_it_was(recipe, tiny_models, tmp_path, capsys, short):
    data = parquet(tmp_path / "data")
    before = {file.name: file.read_bytes() for file in (tiny_models / "tiny").glob("*.safetensors")}
    arguments = ["train", recipe, "--model", "tiny", "--data", str(data), "--steps", "10", "--runs", str(tmp_path / "runs"),
                 "--out", str(tmp_path / "out")]  # fmt: skip
    assert main(arguments) == 0
    folder = tmp_path / "out" / "tiny"
    assert before == {name: (folder / name).read_bytes() for name in before}
    old, new = load_checkpoint(tiny_models / "tiny"), load_checkpoint(folder)
    assert {role: new.hashes[role] for role in old.hashes} == old.hashes
    assert (new.config["calibration"], new.config["defaults"]) == (old.config["calibration"], old.config["defaults"])
    assert set(new.config["ratio_report"]) == {"raw", "calibrated", "isotonic", "refitted"}
    assert new.config["training"]["ratio"]["recipe"] == recipe
    assert new.config["training"]["ratio"]["step"] in (5, 10)
    assert {name: len(r) for name, r in new.tables[REAL_RATIOS].items()} == dict.fromkeys(new.config["ratio_report"], 15)
    logged = [json.loads(line) for line in (tmp_path / "runs" / f"{recipe}-tiny" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if line["phase"] == "ratio"] == [5, 10]
    assert "refitted" in (folder / "README.md").read_text()
    assert refine(folder, n_steps=2, num_images=3, ratio="refitted").after.shape == (3, 3, 32, 32)
    assert main(arguments) == 2  # a finished run is not begun again unasked
    assert "pass --resume" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert json.loads((folder / "config.json").read_text())["parts"] == new.config["parts"]


@pytest.mark.slow
def test_refits_of_a_head_change_nothing_else_and_resume_to_the_bit(tiny_models, tmp_path, short, capsys, monkeypatch):
    data = parquet(tmp_path / "data")

    def trained(recipe: str, model: Path | str, name: str, *more: str) -> int:
        arguments = ["train", recipe, "--model", str(model), "--data", str(data), "--steps", "10", *more]
        return main([*arguments, "--runs", str(tmp_path / f"runs-{name}"), "--out", str(tmp_path / name)])

    assert trained("ratio-refits", "tiny", "none") == 2
    assert "needs a ratio on frozen features" in capsys.readouterr().err
    assert trained("feature-ratio", "tiny", "fitted") == 0
    fitted = tmp_path / "fitted" / "tiny"
    assert trained("ratio-refits", fitted, "whole") == 0
    old, new = load_checkpoint(fitted), load_checkpoint(tmp_path / "whole" / "tiny")
    assert old.hashes == new.hashes
    assert new.config["training"]["ratio"].pop("refits") == {"count": 3, "steps": 10, "seed": 0}
    assert new.config["tables"].pop(REFITS)
    assert {**old.config, "parts": 0} == {**new.config, "parts": 0}
    table = new.tables[REFITS]
    assert table["last.weight"].shape == (3, 1, 128)
    assert len(table["last.weight"].unique(dim=0)) == 3
    result = refine(tmp_path / "whole" / "tiny", n_steps=2, num_images=8, ratio="refitted")
    found = ratio_spread(new, result.before, result.after)
    assert found is not None
    assert found["sd_after"] > 0

    save, saves = Run.save, []

    def stopped(run: Run, state: dict) -> None:
        save(run, state)
        saves.append(run.folder.name)
        if len(saves) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", stopped)
    assert trained("ratio-refits", fitted, "cut") != 0
    assert saves == ["refit-0", "refit-0", "refit-1"]
    assert trained("ratio-refits", fitted, "cut", "--resume") == 0
    assert len(saves) == 6
    assert trained("ratio-refits", fitted, "cut") == 2  # what holds phases alone is a run as well
    assert "pass --resume" in capsys.readouterr().err
    again = load_checkpoint(tmp_path / "cut" / "tiny").tables[REFITS]
    assert all(torch.equal(table[name], again[name]) for name in table)


def test_features_are_resampled_each_with_its_mirror_image():
    rows = Rows(torch.arange(12.0)[:, None], -torch.arange(8.0)[:, None], torch.zeros(2, 1), torch.zeros(2, 1))
    drawn = rows.resampled(torch.Generator().manual_seed(0), mirror=True)
    assert (drawn.real[:6] + 6).equal(drawn.real[6:])
    assert (drawn.fake[:4] - 4).equal(drawn.fake[4:])
    assert drawn.real[:6].max() < 6
    assert 1 < len(drawn.real.unique()) < 12
    assert drawn.holdout_real is rows.holdout_real
    assert len(rows.resampled(torch.Generator().manual_seed(0), mirror=False).real) == 12


@pytest.mark.parametrize("record", [{}, {"steps_run": "many"}, {"steps_run": 0}, {"steps_run": True}])
def test_a_ratio_of_unknown_length_is_refitted_only_for_steps_that_are_given(record):
    assert length_of("one", {"steps_run": 7}) == 7
    with pytest.raises(InputError, match="does not say for how many batches its ratio was trained; give --steps"):
        length_of("one", record)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([2], "it takes 20 or more to train on; got 2"),
        ([0, 3], "one has classes 0 to 2; its data has a label 3"),
        ([-1, 2], "its data has a label -1"),
        (None, "its data needs a column 'label'"),
    ],
)
def test_data_that_does_not_suit_the_pair_is_said_in_one_sentence(labels, problem, tmp_path, monkeypatch):
    pixels = torch.zeros(2 if labels is None else len(labels), 3, 32, 32, dtype=torch.uint8)
    given = Images(pixels, None if labels is None else torch.tensor(labels))
    monkeypatch.setattr(module, "load_images", lambda *_: given)
    pair = Checkpoint("one", Path("one"), tiny_pair_config() | {"labels": {"count": 3}}, {})
    with pytest.raises(InputError, match=problem):
        sides_of(Job(None, None, 0, "cpu", Run(tmp_path, resume=True), tmp_path, pair))


def test_a_linear_ratio_is_not_refitted_by_this_recipe():
    network, _ = body_of_shades(hidden=0)
    with pytest.raises(InputError, match="is linear: its refits come with it"):
        with_hidden_layers(Checkpoint("one", Path("one"), {}, {"ratio": network}, {}))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [0, 3])
def test_a_linear_ratio_has_an_embedded_body_and_sees_what_the_generator_makes(classes, tiny_models, tmp_path):
    shutil.copytree(Path(__file__).parents[2] / "checkpoints" / "cifar10-dcgan", tiny_models / "cifar10-dcgan")
    earlier: dict = {"metrics": [], "choice": {}, "panel_choice": [], "evidence": {}}
    config, parts = tiny_pair_config() | earlier, tiny_pair_parts()
    if classes:
        config["labels"] = {"count": classes, "names": [str(one) for one in range(classes)]}
        torch.manual_seed(0)
        sizes = {"widths": [16, 8, 8], "channels": 3, "classes": classes}
        parts = {
            role: Part(architecture, arguments, build(architecture, arguments).eval())
            for role, architecture, arguments in (
                ("generator", "conditional-dcgan-generator", {"latent": 8, **sizes}),
                ("discriminator", "projection-dcgan-discriminator", {**sizes, "widths": [8, 8, 16]}),
            )
        }
    save_checkpoint(tmp_path / "pair", config, parts, "")
    data = parquet(tmp_path / "data")
    arguments = ["train", "linear-ratio", "--model", str(tmp_path / "pair"), "--data", str(data)]
    assert main([*arguments, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    old, new = load_checkpoint(tmp_path / "pair"), load_checkpoint(tmp_path / "out" / "pair")
    assert {role: new.hashes[role] for role in old.hashes} == old.hashes
    body, source = new.networks["ratio"].body.state_dict(), load("cifar10-dcgan").networks["ratio"].body.state_dict()
    assert all(torch.equal(body[name], source[name]) for name in source)
    record = new.config["training"]["ratio"]
    assert record["recipe"] == "linear-ratio"
    assert (record["body"]["model"], record["body"]["sha256"]) == ("cifar10-dcgan", weights_hash(new.networks["ratio"].body))
    assert 0 < record["effective_share"] <= 1
    assert set(new.config["ratio_report"]) == {"raw", "calibrated", "isotonic", "refitted"}
    assert not earlier.keys() & new.config.keys()  # what was measured with another ratio

    # E_real[r] - E_law[r] = ridge |w|² on the images of the fit.
    squared = float(new.networks["ratio"].last.weight.detach().square().sum())
    assert record["mean_gap"] == pytest.approx(record["ridge"] * squared, rel=0.02)
    result = refine(tmp_path / "out" / "pair", "elliptical-slice", n_steps=20, num_images=16, ratio="refitted")
    assert float(result.ratio_after.mean()) > float(result.ratio_before.mean())


def test_a_head_keeps_the_discriminator_s_features(tiny_models, tmp_path, short):
    data = parquet(tmp_path / "data")
    arguments = ["train", "ratio-head", "--model", "tiny", "--data", str(data), "--steps", "10"]
    assert main([*arguments, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    loaded = load_checkpoint(tmp_path / "out" / "tiny")
    body, discriminator = loaded.networks["ratio"].body, loaded.networks["discriminator"].main
    for name, value in body.state_dict().items():
        assert torch.equal(value, discriminator.state_dict()[name])


def body_of_shades(size: int = 16, **head: int) -> tuple[FeatureRatio, Sides]:
    """A random body, which sees shades well enough, and images of the two laws of shades."""
    torch.manual_seed(0)
    settings: dict = {"hidden": 32, "dropout": 0.0} | head
    network = FeatureRatio("resnet-classifier", {"in_channels": 3, "widths": [8, 8, 16], "classes": 2}, **settings)
    network.body.set_whitening(torch.randn(50, 3, size, size))
    network.eval().requires_grad_(False)
    train, pool, holdout, fakes = (shades(m, 2000, seed, size) for seed, m in enumerate((0.125, -0.125, 0.125, -0.125)))
    return network, Sides(Images(train, None), pool, Images(holdout, None), fakes)


@pytest.mark.slow
def test_a_head_on_features_finds_a_known_log_ratio_and_leaves_the_body_alone(tmp_path):
    network, sides = body_of_shades()
    body = {name: value.clone() for name, value in network.body.state_dict().items()}
    recipe = HeadRecipe(steps=600, measure_every=100, rate=5e-3)
    rows = rows_of(network, sides, "cpu", mirror=False)
    train_head(network, recipe, rows, run=Run(tmp_path, resume=False), seed=0, device="cpu")
    assert all(torch.equal(body[name], value) for name, value in network.body.state_dict().items())
    with torch.no_grad():
        scores = Halves(*(network(pixels.float() / GREY - 1) for pixels in sides.judges))
        calibrate_last_layer(network, network.last, scores)
        fresh = torch.cat([shades(0.125, 500, 10, 16), shades(-0.125, 500, 11, 16)])
        r, truth = network(fresh.float() / GREY - 1), true_ratio(fresh)
    covariance = torch.cov(torch.stack([r, truth]))
    assert float(covariance[0, 1] / covariance[1, 1]) == pytest.approx(1.0, abs=0.15)
    assert float((r - truth).square().mean().sqrt()) < 0.35


def test_a_linear_head_on_pixels_finds_the_log_ratio_of_two_laws_of_shades(tmp_path):
    """That is linear in the shade, so that logistic regression can reach it; a body of zeros gives constants."""
    network, sides = body_of_shades(hidden=0, pixels=2)
    for parameter in network.body.parameters():
        parameter.data.zero_()
    recipe = HeadRecipe(steps=400, measure_every=100, rate=2e-2, weight_decay=0.0)
    rows = rows_of(network, sides, "cpu", mirror=False)
    train_head(network, recipe, rows, run=Run(tmp_path, resume=False), seed=0, device="cpu")
    with torch.no_grad():
        fresh = torch.cat([shades(0.125, 500, 10, 16), shades(-0.125, 500, 11, 16)])
        r, truth = network(fresh.float() / GREY - 1), true_ratio(fresh)
    covariance = torch.cov(torch.stack([r, truth]))
    assert float(covariance[0, 1] / covariance[1, 1]) == pytest.approx(1.0, abs=0.15)
    assert float((r - truth).square().mean().sqrt()) < 0.25


def test_a_linear_head_is_linear_in_cut_off_features_and_sees_averaged_pixels():
    network, _ = body_of_shades(hidden=0, pixels=4)
    with torch.no_grad():
        network.last.weight.normal_()
        images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
        seen = network.features(images)
        assert torch.allclose(seen[:, :-48], network.body.features(images))
        assert torch.allclose(seen[:, -48:].unflatten(1, (3, 4, 4)), torch.nn.functional.avg_pool2d(images, 4), atol=1e-6)
        norm = network.head[0]
        scale = (norm.running_var + norm.eps).sqrt()
        rows = torch.stack([norm.running_mean + far * scale for far in (-9.0, -6.0, 0.0, 2.0, 4.0)])
        r = network.of_features(rows)
    assert float(r[0]) == pytest.approx(float(r[1]), rel=1e-4)
    assert float(r[4] - r[2]) == pytest.approx(2 * float(r[3] - r[2]), rel=1e-3)


@pytest.mark.slow
def test_a_resumed_head_equals_an_uninterrupted_one_to_the_bit(tmp_path, monkeypatch):
    recipe = HeadRecipe(steps=40, batch_size=16, measure_every=10)

    def trained(folder: Path, resume: bool = False) -> tuple[FeatureRatio, dict]:
        network, sides = body_of_shades()
        rows, run = rows_of(network, sides, "cpu", mirror=True), Run(folder, resume=resume)
        return network, train_head(network, recipe, rows, run=run, seed=3, device="cpu")

    whole, measured = trained(tmp_path / "whole")
    with killed_at_the_second_save(monkeypatch):
        trained(tmp_path / "cut")
    cut, measured_again = trained(tmp_path / "cut", resume=True)
    assert measured == measured_again
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), cut.state_dict().values(), strict=True))


def test_mirrored_features_are_those_of_the_mirror_images():
    network, sides = body_of_shades()
    pixels = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8)
    both = features_of(network, pixels, "cpu", mirror=True)
    assert torch.allclose(both[6:], features_of(network, pixels.flip(3), "cpu"), atol=1e-5)
    assert sides.judges[0].shape == (1000, 3, 16, 16)


def test_a_discriminator_goes_on_and_what_was_measured_with_the_old_one_is_dropped(tiny_models, tmp_path, short):
    data = parquet(tmp_path / "data")
    config = {**tiny_pair_config(), "metrics": [], "choice": {}}
    save_checkpoint(tmp_path / "pair", config, tiny_pair_parts(), "")
    arguments = ["train", "discriminator", "--model", str(tmp_path / "pair"), "--data", str(data), "--steps", "10"]
    assert main([*arguments, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    old, new = load_checkpoint(tmp_path / "pair"), load_checkpoint(tmp_path / "out" / "pair")
    assert new.hashes["generator"] == old.hashes["generator"]
    assert new.hashes["discriminator"] != old.hashes["discriminator"]
    assert not {"metrics", "choice"} & new.config.keys()
    assert new.config["calibration"] != old.config["calibration"]
    assert set(new.config["ratio_report"]) == {"raw", "calibrated", "isotonic"}
    measured = new.config["training"]["alone_further"]
    assert measured["holdout_cross_entropy"] > 0
    # It began where the old one was, and ten small steps do not lead far.
    weights = [model.networks["discriminator"].state_dict()["main.0.weight"] for model in (old, new)]
    assert 0 < float((weights[1] - weights[0]).norm() / weights[0].norm()) < 0.1


def test_models_that_have_no_ratio_to_refit_are_refused(tiny_models, tmp_path, capsys):
    paths = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--data", str(tmp_path)]

    def refused(*arguments: str) -> str:
        assert main(["train", *arguments, *paths]) == 2
        return capsys.readouterr().err

    assert "recipe 'ratio' starts from a model: name one with --model" in refused("ratio")
    assert "starts from no model; leave --model out" in refused("cifar10-dcgan", "--model", "tiny")
    assert "is of kind 'features'" in refused("ratio", "--model", "cifar10-features")
    assert "model must be one of" in refused("ratio", "--model", "nowhere")
    config = {**tiny_pair_config(), "data": {"shape": [3, 32, 32], "range": [-1, 1], "dataset": "mine"}}
    save_checkpoint(tmp_path / "mine", config, tiny_pair_parts(), "")
    assert "needs the pair's training images" in refused("ratio", "--model", str(tmp_path / "mine"))


def results(split: str, weights: dict, rows: list[tuple], seeds: tuple[int, ...] = (0,)) -> dict:
    """What `evaluate` writes, as far as the choice of defaults reads it; a row is (method, ratio, options, distance)."""
    table = [{"method": "base", "frechet_distance": {"mean": 5.0}, "precision": {"mean": 0.9}, "recall": {"mean": 0.5}}]
    for method, ratio, options, distance in rows:
        main_settings = {name: options.pop(name) for name in ("eps", "n_steps") if name in options}
        table.append({"method": method, "ratio": ratio, "beta": 1.0, **main_settings, "options": options,
                     "frechet_distance": {"mean": distance}})  # fmt: skip
    return {"reference": {"split": split}, "num_images": 1200, "seeds": list(seeds), "sha256": "abc", "extractor": "e",
            "title": "t", "weights": weights, "rows": table}  # fmt: skip


def test_defaults_are_chosen_by_holdout_distance(tiny_pair, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    script = importlib.import_module("choose_defaults")
    weights = load(tiny_pair).hashes
    one = results("holdout", weights, [
        ("langevin", "raw", {"eps": 0.1, "n_steps": 9}, 4.5), ("langevin", "calibrated", {"eps": 0.2, "n_steps": 8}, 4.0),
        ("langevin", "raw", {"eps": 0.3, "n_steps": 7}, 4.8),
    ])  # fmt: skip
    two = results("holdout", weights, [("i-sir", "raw", {"n_steps": 4, "particles": 20}, 3.0)])
    two["rows"].append({**two["rows"][1], "beta": 0.5, "frechet_distance": {"mean": 1.0}})

    def choose(*measured: dict) -> None:
        files = [tmp_path / f"{number}.json" for number in range(len(measured))]
        for file, content in zip(files, measured, strict=True):
            file.write_text(json.dumps(content))
        script.choose(tiny_pair, files)

    before = load(tiny_pair)
    choose(one, two)
    config = load(tiny_pair).config
    assert config["defaults"]["method"] == "i-sir"
    assert config["defaults"]["ratio"] == "raw"
    assert config["defaults"]["langevin"] == {"eps": 0.2, "n_steps": 8}
    assert config["defaults"]["i-sir"] == {"n_steps": 4, "particles": 20}
    assert [row["value"] for row in config["choice"]["rows"]] == [5.0, 3.0, 4.0, 4.5, 4.8]
    assert config["parts"] == before.config["parts"]
    card = (tiny_pair / "README.md").read_text()
    assert "| i-sir | raw | n_steps 4, particles 20 | 3 |" in card
    assert "N = 1200" in card
    for wrong, message in (
        (results("test", weights, []), "chosen on holdout"),
        (results("holdout", {}, []), "measured on other weights"),
        (results("holdout", weights, [], seeds=(1,)), "differ in seeds"),
        ({**one, "rows": one["rows"][:1]}, "no row of a method"),
    ):
        given = (one, wrong) if "differ" in message else (wrong,)
        with pytest.raises(InputError, match=message):
            choose(*given)
    assert load(tiny_pair).config == config
    choose(one, two)
    files = [tmp_path / "0.json", tmp_path / "1.json"]
    script.choose(tiny_pair, files, "langevin")
    defaults = load(tiny_pair).config["defaults"]
    assert (defaults["method"], defaults["ratio"], defaults["langevin"]) == (
        "langevin",
        "calibrated",
        {"eps": 0.2, "n_steps": 8},
    )
    with pytest.raises(InputError, match="method must be one that the results hold; got 'hmc'"):
        script.choose(tiny_pair, files, "hmc")


def panel_row(method, word, gain, ratio="raw", **settings):
    options = {name: settings.pop(name) for name in list(settings) if name not in ("eps", "n_steps")}
    return {"method": method, "ratio": ratio, "settings": {**settings, "options": options}, "evaluations": 25.0,
            "verdict": {"word": word, "reason": "", "median_gain": gain}}  # fmt: skip


def test_defaults_are_chosen_by_the_panels_verdict_and_then_the_median_gain(tiny_pair, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    script = importlib.import_module("choose_defaults")
    shared = {"weights": load(tiny_pair).hashes, "panel": "p", "fingerprint": "f", "split": "holdout", "num_images": 700,
              "seeds": [9]}  # fmt: skip
    rows = [
        panel_row("langevin", "open", 0.9, eps=0.2, n_steps=24), panel_row("best of 50", "confirmed", 0.7),
        panel_row("i-sir", "confirmed", 0.3, n_steps=1, particles=50), panel_row("mala", "confirmed", 0.2, n_steps=24),
        panel_row("i-sir", "confirmed", 0.4, "calibrated", n_steps=5, particles=10),
        panel_row("dg-flow", "contradicted", 0.95, eps=0.2, n_steps=24),
    ]  # fmt: skip
    files = [tmp_path / "25.json", tmp_path / "75.json"]
    files[0].write_text(json.dumps({**shared, "budget": 25.0, "rows": rows}))
    files[1].write_text(json.dumps({**shared, "budget": 75.0, "rows": rows[:1]}))
    script.choose_by_panel(tiny_pair, files)
    config = load(tiny_pair).config
    assert (config["defaults"]["method"], config["defaults"]["ratio"]) == ("i-sir", "calibrated")
    assert config["defaults"]["i-sir"] == {"n_steps": 5, "particles": 10}
    first, second = config["panel_choice"]
    assert [row["method"] for row in first["rows"]] == ["i-sir", "i-sir", "mala", "best of 50"]
    assert [row["method"] for row in second["rows"]] == ["langevin"]
    assert (
        "| 25 | i-sir | calibrated | n_steps 5, particles 10 | 25 | **confirmed** | -40% |"
        in (tiny_pair / "README.md").read_text()
    )
    # Where nothing is confirmed the default stays.
    files[0].write_text(json.dumps({**shared, "budget": 25.0, "rows": rows[:1]}))
    script.choose_by_panel(tiny_pair, files)
    assert load(tiny_pair).config["defaults"]["method"] == "i-sir"
    files[0].write_text(json.dumps({**shared, "split": "test", "budget": 25.0, "rows": rows}))
    with pytest.raises(InputError, match="--split holdout"):
        script.choose_by_panel(tiny_pair, files)


@pytest.mark.slow
def test_mh_gan_starts_from_a_stored_real_ratio(tiny_pair, tmp_path):
    """With starts so high that nothing is taken every chain falls back; with low ones none does, nor without a table."""
    loaded = load(tiny_pair)
    assert real_ratios(loaded, "raw") is None
    fallbacks = {}
    for name, height in (("high", 1e6), ("low", -1e6)):
        table = {REAL_RATIOS: {"calibrated": torch.full((10,), height), "raw": torch.zeros(10)}}
        config = {key: value for key, value in loaded.config.items() if key not in ("format", "parts", "tables")}
        save_checkpoint(tmp_path / name, config, {}, "", table, previous=loaded)
        model = load(tmp_path / name)
        assert torch.equal(real_ratios(model, "calibrated", 0.5), torch.full((10,), height / 2))
        assert real_ratios(model, "isotonic") is None
        result = refine(model, "mh-gan", n_steps=3, num_images=8)
        fallbacks[name] = result.diagnostics["fallbacks"]
        assert refine(model, "mh-gan", n_steps=3, num_images=8, options={"start_ratio": 900.0}).diagnostics["fallbacks"] == 8
    assert fallbacks == {"high": 8, "low": 0}
    assert refine(loaded, "mh-gan", n_steps=3, num_images=8).diagnostics["fallbacks"] == 0
