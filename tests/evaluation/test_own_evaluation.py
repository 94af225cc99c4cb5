"""Own models against own real samples: images of any size and vectors, measured; what does not fit is refused."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

import ebm_refine
from ebm_refine import InputError
from ebm_refine.cli import main
from ebm_refine.metrics.own_evaluator import own_evaluator, two_sample_accuracy
from ebm_refine.metrics.panel_kinds import training_free


def flat(z: Tensor) -> Tensor:
    ramp = torch.linspace(-0.3, 0.3, 12)
    return (0.5 * torch.tanh(z[:, 0])[:, None, None] + torch.tanh(z[:, 1])[:, None, None] * ramp)[:, None].expand(-1, 1, 12, 12)


def brighter(count: int, seed: int = 0) -> Tensor:
    z = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)) + torch.tensor([1.0, 0.0])
    return ((flat(z) + 1) * 127.5).round().to(torch.uint8)


def images() -> ebm_refine.models.pair.Pair:
    """The law exp(-E) of this score is the real one: r = log N(z1; 1, 1) / N(z1; 0, 1) = z1 - 1/2."""
    return ebm_refine.pair(flat, lambda x: torch.atanh((2 * x.mean((1, 2, 3))).clamp(-0.999, 0.999)), latent=2)


def found(results, method: str, measure: str) -> float:
    return next(row[measure]["mean"] for row in results["rows"] if row["method"] == method)


def test_images_of_any_size_are_measured_and_the_right_ratio_brings_them_near(tmp_path):
    arguments = {"methods": ["i-sir"], "real": brighter(590), "num_images": 400, "n_steps": 15, "progress": False}
    results = ebm_refine.evaluate(images(), **arguments, out=tmp_path)
    assert found(results, "i-sir", "kernel_distance") < 0.3 * found(results, "base", "kernel_distance")
    assert "8x8 pixels" in results["title"]
    assert results["reference"]["images"] == 590
    table = (tmp_path / "table.md").read_text()
    assert "reference: 590 own real images." in table
    assert "spreads over seeds" not in table  # the gain's error has the real images' own noise in it, of one seed too
    jobs = list((tmp_path / "jobs").iterdir())
    stamps = [job.stat().st_mtime_ns for job in jobs]
    again = ebm_refine.evaluate(images(), **arguments, out=tmp_path)
    assert again["rows"] == results["rows"]
    assert [job.stat().st_mtime_ns for job in jobs] == stamps


@pytest.fixture
def cheap(monkeypatch):
    """The kinds that need no weights, in place of CIFAR-10's encoders too."""
    seen, module = [], "ebm_refine.evaluation.own_evaluation"
    monkeypatch.setattr(f"{module}.borrowed_kinds", lambda: seen.append("borrowed") or training_free())
    monkeypatch.setattr(f"{module}.kinds_of", lambda name: seen.append(name) or training_free())
    return seen


@pytest.mark.slow
def test_auto_asks_the_kinds_that_fit_and_each_has_to_earn_its_vote(tmp_path, cheap):
    arguments = {"methods": ["i-sir"], "num_images": 300, "n_steps": 15, "progress": False}
    results = ebm_refine.evaluate(images(), real=brighter(700), out=tmp_path / "one", **arguments)
    (judged,) = results["panel"]["rows"]
    (pixels,) = judged["rows"]  # a filter bank needs 16x16
    assert pixels["kind"] == "pixels"
    assert pixels["after"]["value"] < 0.5 * pixels["before"]["value"]
    assert all(row["votes"] or "test" in row["why"] or "tell" in row["why"] for row in judged["rows"])
    assert judged["verdict"]["word"] in (tmp_path / "one" / "table.md").read_text()
    assert cheap == ["borrowed"]
    # Other real images are another panel; a callable is asked alone; of too few images no verdict is given.
    other = ebm_refine.evaluate(images(), real=brighter(700, seed=1), out=tmp_path / "one", **arguments)
    assert other["panel"]["fingerprint"] != results["panel"]["fingerprint"]
    for real, more in [(brighter(700), {"extractor": lambda pixels: pixels.flatten(1).float()[:, :3]}), (brighter(599), {})]:
        assert "panel" not in ebm_refine.evaluate(images(), real=real, out=tmp_path / "two", **arguments, **more)


@pytest.mark.slow
def test_of_a_size_with_a_panel_of_its_own_that_is_asked(tmp_path, cheap):
    def digit_sized(z: Tensor) -> Tensor:
        return flat(z).repeat(1, 1, 3, 3)[:, :, :28, :28]

    mine = ebm_refine.pair(digit_sized, lambda x: x.mean((1, 2, 3)), latent=2)
    real = ((digit_sized(torch.randn(600, 2, generator=torch.Generator().manual_seed(4))) + 1) * 127.5).round().to(torch.uint8)
    ebm_refine.evaluate(mine, methods=["mh-gan"], real=real, num_images=256, n_steps=2, out=tmp_path, progress=False)
    assert cheap == ["mnist"]


def test_too_few_images_for_a_verdict_are_answered_with_what_it_needs(tmp_path, capsys):
    ebm_refine.evaluate(images(), methods=["mh-gan"], real=brighter(300), num_images=120, n_steps=2, out=tmp_path)
    assert "it needs 600 real images and --num-images 256 (in Python num_images=); got 300 and 120" in capsys.readouterr().err


def test_a_callable_measures_in_its_own_features(tmp_path):
    def means(pixels: Tensor) -> np.ndarray:
        return pixels.numpy().reshape(len(pixels), -1)[:, :3] / 255

    results = ebm_refine.evaluate(
        images(), methods=["mh-gan"], real=brighter(300), extractor=means, num_images=150, progress=False, out=tmp_path
    )
    assert results["dimension"] == 3
    assert found(results, "mh-gan", "frechet_distance") < found(results, "base", "frechet_distance")


@pytest.mark.slow
def test_vectors_are_measured_by_a_kernel_their_moments_and_a_classifier(tmp_path):
    real = torch.randn(800, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.5, 0.0, 0.0])
    mine = ebm_refine.pair(lambda z: z, lambda x: 1.5 * x[:, 0], latent=3)
    results = ebm_refine.evaluate(mine, methods=["i-sir"], real=real, num_images=600, n_steps=20, progress=False, out=tmp_path)
    for measure in ("kernel_distance", "frechet_distance"):
        assert found(results, "i-sir", measure) < 0.2 * found(results, "base", measure)
    assert found(results, "base", "classifier_accuracy") > 0.7
    assert abs(found(results, "i-sir", "classifier_accuracy") - 0.5) < 0.06
    table = (tmp_path / "table.md").read_text()
    assert "accuracy of a real-or-generated classifier" in table
    assert "reference: 800 own real vectors." in table


def test_a_classifier_cannot_tell_one_law_from_itself():
    rows = torch.randn(1200, 4, generator=torch.Generator().manual_seed(3))
    assert abs(two_sample_accuracy(rows[:600], rows[600:]) - 0.5) < 0.06


def test_what_does_not_fit_is_refused_before_anything_is_sampled(tmp_path):
    def refused(expected: str, model=None, **arguments):
        given = {"methods": ["mh-gan"], "real": brighter(300), "progress": False, "out": tmp_path / "none", **arguments}
        with pytest.raises(InputError, match=expected):
            ebm_refine.evaluate(model or images(), **given)
        assert not (tmp_path / "none" / "jobs").exists() or not list((tmp_path / "none" / "jobs").iterdir())

    refused("crop and resize", real=np.zeros((300, 9, 9), np.uint8))
    refused("needs at least 100 real images; got 20", real=brighter(20))
    refused("inception needs at least 2048 real images; got 300: give more, or --extractor auto", extractor="inception")
    refused(r"num_images must be at least 100 .* give --num-images 100", num_images=50)
    refused("extractor must be one of auto, inception", extractor="fid")
    refused("the extractor fails", extractor=lambda pixels: 1 / 0)
    refused("must give features", extractor=lambda pixels: pixels)
    refused("can tell no images apart", extractor=lambda pixels: torch.ones(len(pixels), 4))
    refused("all 300 real samples are the same one", real=brighter(1).expand(300, -1, -1, -1))
    refused(r"no data set is stored for 'mine', a model of your own: give real samples", real=None)
    refused("methods must be a list", methods="mh-gan")
    refused("method must be one of", methods=["nuts"])
    vectors = ebm_refine.pair(lambda z: z, lambda x: x[:, 0], latent=3)
    refused("the generator makes vectors", model=vectors, real=np.zeros((300, 2)))
    refused("extractor must be auto", model=vectors, real=np.arange(900.0).reshape(300, 3), extractor="inception")


def test_a_turned_sign_is_found_before_anything_is_sampled(tmp_path):
    def turned(x: Tensor) -> Tensor:
        return -torch.atanh((2 * x.mean((1, 2, 3))).clamp(-0.999, 0.999))

    given = {"methods": ["mh-gan"], "real": brighter(300), "num_images": 100, "n_steps": 2, "progress": False}
    mine = ebm_refine.pair(flat, turned, latent=2)
    with pytest.raises(
        InputError, match=r"above a generated one in \d+% of pairs only: its sign is turned, give output='inverted'"
    ):
        ebm_refine.evaluate(mine, **given, out=tmp_path)
    assert not list(tmp_path.iterdir())
    ebm_refine.evaluate(ebm_refine.pair(flat, turned, latent=2, output="inverted"), **given, out=tmp_path)


@pytest.mark.filterwarnings("ignore:the generator gives values", "ignore:the discriminator gives numbers from 0 to 1")
def test_one_class_is_compared_to_real_samples_of_that_class(tmp_path):
    """Class 1 is brighter by 0.3: only against real ones of its own is its base near."""
    mine = ebm_refine.pair(
        lambda z, y: flat(z) * 0.5 + 0.3 * y.view(-1, 1, 1, 1), lambda x: x.flatten(1).std(1), latent=2, labels=2
    )
    of_two = torch.arange(600) % 2
    z = torch.randn(600, 2, generator=torch.Generator().manual_seed(5))
    pixels = ((flat(z) * 0.5 + 0.3 * of_two.view(-1, 1, 1, 1) + 1) * 127.5).round().to(torch.uint8)
    given = {"methods": ["mh-gan"], "num_images": 200, "n_steps": 1, "progress": False, "ratios": ["raw"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = ebm_refine.evaluate(mine, **given, real=(pixels, of_two), label=1, out=tmp_path / "right")
        wrong = ebm_refine.evaluate(mine, **given, real=(pixels, 1 - of_two), label=1, out=tmp_path / "wrong")
    assert found(right, "base", "kernel_distance") < 0.1 * found(wrong, "base", "kernel_distance")
    with pytest.raises(InputError, match="give real with labels"):
        ebm_refine.evaluate(mine, **given, real=pixels, label=1)
    with pytest.raises(InputError, match="no real sample has label 1"):
        ebm_refine.evaluate(mine, **given, real=(pixels, of_two * 0), label=1)


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.slow
def test_a_wrong_prior_is_named(vectors, tmp_path):
    def generator(z: Tensor) -> Tensor:
        return z * 2 if vectors else flat(z * 1.5)

    latents = torch.rand(400, 2, generator=torch.Generator().manual_seed(5)) * 2 - 1
    made = generator(latents)
    real = made if vectors else ((made + 1) * 127.5).round().to(torch.uint8)
    given = {"methods": ["mh-gan"], "real": real, "num_images": 100, "n_steps": 2, "progress": False, "out": tmp_path}

    def score(x: Tensor) -> Tensor:
        return x.flatten(1).mean(1)

    with pytest.warns(UserWarning, match="with prior='uniform' they would be at"):
        ebm_refine.evaluate(ebm_refine.pair(generator, score, latent=2), **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ebm_refine.evaluate(ebm_refine.pair(generator, score, latent=2, prior="uniform"), **given)


def test_the_kernel_takes_pairs_of_the_first_samples_alone(monkeypatch):
    monkeypatch.setattr("ebm_refine.metrics.own_evaluator.MOST_KERNEL", 200)
    evaluator = own_evaluator(brighter(300))
    few, many = brighter(200, seed=1), brighter(400, seed=2)
    many[:200] = few
    assert evaluator.measure(many, many)["kernel_distance"] == evaluator.measure(few, few)["kernel_distance"]


def test_images_of_another_size_have_no_distance():
    evaluator = own_evaluator(brighter(150))
    other = torch.zeros(120, 1, 9, 9, dtype=torch.uint8)
    with pytest.raises(InputError, match="the model makes images of 1x9x9, the real ones are 1x12x12"):
        evaluator.measure(other, other)


def test_embedded_extractors_refuse_another_size(tiny_models):
    from ebm_refine.metrics.features import features_for

    with pytest.raises(InputError, match="measures images of 3x32x32; got 3x64x64"):
        features_for("cifar10")(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))


def test_the_command_line_measures_against_a_folder(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_flat_gan.py").write_text(
        "import torch, ebm_refine\n"
        "def flat(z): return (0.5 * torch.tanh(z[:, :1]))[:, :, None, None].expand(-1, 1, 12, 12)\n"
        "def make(): return ebm_refine.pair(flat, lambda x: x.mean((1, 2, 3)), latent=2)\n"
    )
    (tmp_path / "real").mkdir()
    for number, picture in enumerate(brighter(120)):
        Image.fromarray(picture[0].numpy()).save(tmp_path / "real" / f"{number}.png")
    given = ["evaluate", "--model", "own_flat_gan:make", "--methods", "mh-gan", "--n-steps", "5", "--num-images", "110"]
    assert main([*given, "--real", "real", "--out", "out"]) == 0
    assert (tmp_path / "out" / "table.md").exists()
    assert main([*given, "--extractor", "inception", "--out", "out2"]) == 2
    assert "name them with --real" in capsys.readouterr().err
