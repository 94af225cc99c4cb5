"""A ratio from a generator and real samples alone: closed forms, believed or not, resumed, saved, loaded, and refused."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import killed_at_the_second_save
from PIL import Image
from torch import Tensor

import ebm_refine
from ebm_refine import CheckpointError, InputError
from ebm_refine.cli import main
from ebm_refine.data.real_images import real_images
from ebm_refine.training.common.scores import Halves
from ebm_refine.training.pipelines.own_bodies import body_for
from ebm_refine.training.pipelines.ratio_fitting import crossed


def flat(z: Tensor) -> Tensor:
    """Noise-free 8x8 images whose grey is z1 and whose gradient is z2."""
    ramp = torch.linspace(-0.3, 0.3, 8)
    return (0.5 * torch.tanh(z[:, 0])[:, None, None] + torch.tanh(z[:, 1])[:, None, None] * ramp)[:, None].expand(-1, 1, 8, 8)


def vectors(count: int, mean: float, seed: int = 0) -> Tensor:
    shift = torch.tensor([mean, 0.0, 0.0])
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) + shift


def normal_pair() -> ebm_refine.models.pair.Pair:
    return ebm_refine.pair(lambda z: z, latent=3)


@pytest.fixture(scope="module")
def fitted():
    return ebm_refine.fit_ratio(normal_pair(), vectors(20_000, 1.0), steps=600, progress=False)


@pytest.mark.slow
def test_the_ratio_of_two_normal_laws_is_found_and_believed(fitted):
    """N(m, I) against N(0, I): r(x) = m x1 - m^2 / 2."""
    points = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.5, -0.5], [2.0, 0.0, 0.0]])
    r = fitted.networks["ratio"](points)
    assert torch.allclose(r, points[:, 0] - 0.5, atol=0.3)
    report = fitted.config["ratio_report"]["refitted"]
    # The cross-entropy of the true ratio, by quadrature over x1.
    x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    density, true = (-x.square() / 2).exp() / math.sqrt(2 * math.pi), x - 0.5
    best = float(torch.trapezoid(density * torch.nn.functional.softplus(true), x))
    assert abs(report["cross_entropy"] - best) < 0.08
    assert 0.5 < report["calibration_slope"] < 1.6
    assert report["verdict"].startswith("To be believed")
    assert report["n_real"] == report["n_fake"] == 2000


def test_each_half_of_the_holdout_is_calibrated_by_the_other():
    """Scores c (x - 1/2) of N(1, 1) against N(0, 1), c = 2 in the first half and 4 in the other: the slope is 1 / c."""
    source = torch.Generator().manual_seed(1)
    factors = torch.tensor([2.0, 4.0]).repeat_interleave(4000)
    real, fake = (factors * (torch.randn(8000, generator=source) + mean - 0.5) for mean in (1.0, 0.0))
    found = crossed(Halves(real, fake))
    for given, side in zip((real, fake), found, strict=True):
        slopes = (side[1:] - side[:-1]) / (given[1:] - given[:-1])
        assert abs(float(slopes[:3999].median()) - 1 / 4) < 0.03
        assert abs(float(slopes[4000:].median()) - 1 / 2) < 0.06


@pytest.mark.slow
def test_the_fitted_ratio_is_the_default_and_refines(fitted):
    result = ebm_refine.refine(fitted, "mala", n_steps=60, num_images=1000)
    assert result.settings.ratio == "refitted"
    assert abs(float(result.after[:, 0].mean()) - 1.0) < 0.25
    assert abs(float(result.before[:, 0].mean())) < 0.15


def test_a_ratio_is_saved_into_a_file(fitted, tmp_path):
    mine = fitted[0] if isinstance(fitted, tuple) else fitted
    with pytest.raises(InputError, match=r"is a folder; name a file, such as .*ratio.safetensors"):
        mine.save_ratio(tmp_path)
    with pytest.raises(InputError, match="ratio must be a file of save_ratio; got 5"):
        ebm_refine.pair(lambda z: z, latent=3, ratio=5)


def test_a_saved_ratio_comes_back_and_is_bound_to_its_generator(fitted, tmp_path):
    file = fitted.save_ratio(tmp_path / "new" / "r.safetensors")
    again = ebm_refine.pair(lambda z: z, latent=3, ratio=file)
    one, other = (ebm_refine.refine(each, "mala", n_steps=4, num_images=8) for each in (fitted, again))
    assert torch.equal(one.after, other.after)
    assert again.config["ratio_report"] == fitted.config["ratio_report"]
    with pytest.raises(CheckpointError, match="fitted to another generator"):
        ebm_refine.pair(lambda z: 2 * z, latent=3, ratio=file)
    with pytest.raises(CheckpointError, match="samples of another shape"):
        ebm_refine.pair(lambda z: z, latent=2, ratio=file)
    with pytest.raises(CheckpointError, match="is not there"):
        ebm_refine.pair(lambda z: z, latent=3, ratio=tmp_path / "none.safetensors")
    content = file.read_bytes()
    for spoiled in (content[:100], b"", content.replace(b"vector-ratio", b"vector-ratiO")):
        file.write_bytes(spoiled)
        with pytest.raises(CheckpointError):
            ebm_refine.pair(lambda z: z, latent=3, ratio=file)
    with pytest.raises(InputError, match="no fitted ratio"):
        normal_pair().save_ratio(file)


def test_a_ratio_that_knows_nothing_says_so():
    mine = ebm_refine.fit_ratio(normal_pair(), vectors(1000, 0.0, 5), steps=100, progress=False)
    assert mine.config["ratio_report"]["refitted"]["verdict"].startswith("Nothing to gain")


@pytest.mark.slow
def test_an_interrupted_fit_goes_on_to_the_same_bits(monkeypatch, tmp_path):
    def fit(runs):
        return ebm_refine.fit_ratio(normal_pair(), vectors(500, 1.0), steps=500, progress=False, runs=tmp_path / runs)

    whole = fit("a")
    with killed_at_the_second_save(monkeypatch) as saves:
        fit("b")
    assert len(saves) == 2
    assert list((tmp_path / "b").iterdir())
    resumed = fit("b")
    for one, other in zip(whole.networks["ratio"].parameters(), resumed.networks["ratio"].parameters(), strict=True):
        assert torch.equal(one, other)
    assert not list((tmp_path / "b").iterdir())


@pytest.mark.parametrize("body", ["cnn", "classifier", "contrastive"])
@pytest.mark.slow
def test_bodies_see_images(body):
    """Real images are brighter than generated ones."""
    source = torch.Generator().manual_seed(1)
    z = torch.randn(400, 2, generator=source) + torch.tensor([0.8, 0.0])
    real = flat(z).numpy()
    labels = (z[:, 1] > 0).long()
    given = (real, labels) if body == "classifier" else real
    import ebm_refine.training.pipelines.own_bodies as bodies

    lengths = bodies.CLASSIFIER_IMAGES, bodies.CONTRASTIVE_BATCHES
    bodies.CLASSIFIER_IMAGES, bodies.CONTRASTIVE_BATCHES = 2000, 5
    try:
        mine = ebm_refine.fit_ratio(ebm_refine.pair(flat, latent=2), given, body=body, steps=60, progress=False)
    finally:
        bodies.CLASSIFIER_IMAGES, bodies.CONTRASTIVE_BATCHES = lengths
    assert mine.config["training"]["ratio"]["body"] == body
    result = ebm_refine.refine(mine, "mh-gan", n_steps=5, num_images=20)
    assert result.ratio_after.isfinite().all()
    if body == "cnn":
        assert result.after.float().mean() > result.before.float().mean()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:generated samples are at")
def test_large_images_are_seen_smaller():
    mine = ebm_refine.pair(lambda z: flat(z).repeat_interleave(17, 2).repeat_interleave(17, 3), latent=2)
    real = torch.randint(0, 256, (200, 1, 136, 136), dtype=torch.uint8)
    fit = ebm_refine.fit_ratio(mine, real, body="cnn", steps=2, progress=False)
    assert fit.config["parts"]["ratio"]["arguments"]["size"] == [45, 45]
    assert ebm_refine.refine(fit, "langevin", n_steps=2, num_images=3).after.shape == (3, 1, 136, 136)


@pytest.mark.slow
def test_a_discriminator_whose_sign_is_turned_is_found():
    with pytest.warns(UserWarning, match="give output='inverted'"):
        mine = ebm_refine.fit_ratio(
            ebm_refine.pair(lambda z: z, lambda x: -x[:, 0], latent=3), vectors(1000, 1.0), steps=50, progress=False
        )
    assert "calibration" not in mine.config
    right = ebm_refine.pair(lambda z: z, lambda x: 2 * x[:, 0], latent=3)
    mine = ebm_refine.fit_ratio(right, vectors(2000, 1.0), steps=50, progress=False)
    assert abs(mine.config["calibration"]["slope"] - 0.5) < 0.2
    assert ebm_refine.refine(mine, "mala", n_steps=2, num_images=4, ratio="calibrated").settings.ratio == "calibrated"


def test_a_score_without_gradient_gives_way_to_the_ratio():
    mine = ebm_refine.fit_ratio(
        ebm_refine.pair(lambda z: z, lambda x: np.asarray(x)[:, 0], latent=3), vectors(500, 1.0), steps=20, progress=False
    )
    assert ebm_refine.refine(mine, "langevin", n_steps=2, num_images=4).settings.ratio == "refitted"


def test_the_body_follows_size_and_labels():
    two, one, each = torch.arange(200) % 2, torch.zeros(200, dtype=torch.long), torch.arange(200)
    assert body_for((5,), None, None) == "mlp"
    assert body_for((1, 28, 28), two, None) == "classifier"
    for saying_nothing in (None, one, each):
        assert body_for((1, 28, 28), saying_nothing, None) == "cnn"
        assert body_for((3, 64, 64), saying_nothing, None) == "contrastive"
    for shape, labels, body, expected in [
        ((1, 28, 28), None, "classifier", "needs labels of 2 classes"),
        ((1, 28, 28), each, "classifier", "5 samples each; got 200 for 200 samples"),
        ((5,), None, "cnn", "does not look at samples of shape"),
        ((1, 28, 28), None, "resnet", "body must be one of"),
        ((1, 4, 4), None, None, "8x8 pixels at the least"),
    ]:
        with pytest.raises(InputError, match=expected):
            body_for(shape, labels, body)


def save(folder, name: str, size=(8, 8), mode: str = "L"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 7).save(folder / name)


def test_real_images_come_as_arrays_folders_and_files(tmp_path):
    grey = np.zeros((3, 8, 8), np.uint8)
    assert real_images(grey, (1, 8, 8)).pixels.shape == (3, 1, 8, 8)
    assert real_images(np.zeros((3, 8, 8, 3)) - 1, (3, 8, 8)).pixels.max() == 0
    assert real_images(torch.ones(3, 3, 8, 8), (3, 8, 8), (0.0, 1.0)).pixels.min() == 255
    assert real_images((grey, [0, 1, 2]), (1, 8, 8)).labels.tolist() == [0, 1, 2]
    for name in ("cat/a.png", "cat/b.PNG", "dog/c.bmp"):
        save(tmp_path, name)
    found = real_images(tmp_path, (1, 8, 8))
    assert found.labels.tolist() == [0, 0, 1]
    assert found.pixels.unique().tolist() == [7]
    save(tmp_path, ".ipynb_checkpoints/a.png")
    save(tmp_path, "__MACOSX/cat/a.png")
    (tmp_path / "dog" / "._c.png").write_bytes(b"no picture")
    assert real_images(tmp_path, (1, 8, 8)).labels.tolist() == [0, 0, 1]
    save(tmp_path, "d.png")
    assert real_images(str(tmp_path), (1, 8, 8)).labels is None
    assert len(real_images(str(tmp_path), (1, 8, 8), limit=2).pixels) == 2


def test_real_images_that_do_not_fit_are_refused(tmp_path):
    shape = (1, 8, 8)
    with pytest.raises(InputError, match="no pictures"):
        real_images(tmp_path, shape)
    save(tmp_path, "mixed/a.png")
    save(tmp_path, "mixed/b.png", (9, 8))
    with pytest.raises(InputError, match=r"b.png' of 9x8, but the generator makes 8x8: crop and resize"):
        real_images(tmp_path / "mixed", shape)
    save(tmp_path, "colours/a.png")
    save(tmp_path, "colours/b.png", mode="RGB")
    with pytest.raises(InputError, match=r"b.png', in colour, but the generator's are grey: convert"):
        real_images(tmp_path / "colours", shape)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="cannot be read"):
        real_images(tmp_path / "broken", shape)
    for mode, expected in (("I;16", "16 bits"), ("I", "32 bits"), ("F", "a floating-point number")):
        save(tmp_path, f"{mode[0]}-{len(mode)}/a.tiff", mode=mode)
        for channels in (1, 3):
            with pytest.raises(InputError, match=f"a.tiff' has {expected} a channel: save it anew with 8"):
                real_images(tmp_path / f"{mode[0]}-{len(mode)}", (channels, 8, 8))
    for real, expected in [
        (np.zeros((0, 8, 8)), "at least 2; got 0"),
        ((np.zeros((2, 8, 8), np.uint8), ["cat", "dog"]), "labels must be whole numbers from 0 to 65535"),
        ((np.zeros((2, 8, 8), np.uint8), [None, 1]), "labels must be whole numbers"),
        ((np.zeros((2, 8, 8), np.uint8), [0, 2**40]), "labels must be whole numbers from 0 to 65535"),
        (np.zeros((3, 9, 9), np.uint8), "9x9, but the generator makes 8x8"),
        (np.zeros((3, 3, 8, 8), np.uint8), "in colour, but the generator's are grey"),
        (np.zeros((3, 8, 8), np.int64), "uint8, or floating-point"),
        (np.full((3, 8, 8), np.nan), "not finite"),
        (np.full((3, 8, 8), 200.0), "outside the generator's value_range"),
        (np.full((3, 8, 8), 0.5), "give that range or uint8"),
        (np.zeros((1, 8, 8), np.uint8), "at least 2; got 1"),
        ((np.zeros((3, 8, 8), np.uint8), [0, 1]), "one for each of 3"),
        ("no/such/folder", "there is no 'no/such/folder'"),
        (object(), "must be an array, a folder"),
    ]:
        with pytest.raises(InputError, match=expected):
            real_images(real, shape)
    with pytest.raises(InputError, match="vectors"):
        real_images(np.zeros((5, 2)), (3,))


def test_rows_of_parquet_need_pictures_and_may_name_their_classes(tmp_path):
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    save(tmp_path, "a.png")
    good = {"bytes": (tmp_path / "a.png").read_bytes(), "path": None}

    def read(pictures, labels=None):
        pq.write_table(
            pa.table({"image": pictures, **({} if labels is None else {"label": labels})}), tmp_path / "rows.parquet"
        )
        return real_images(tmp_path / "rows.parquet", (1, 8, 8))

    assert read([good] * 3, ["dog", "cat", "dog"]).labels.tolist() == [1, 0, 1]
    assert read([good] * 3, [4, 0, 1]).labels.tolist() == [4, 0, 1]
    assert read([good] * 3, [0.5, 1, 2]).labels is None
    assert read([good] * 3, [None, 1, 2]).labels is None
    with pytest.raises(InputError, match=r"picture 1 of .* is missing"):
        read([good, None])
    with pytest.raises(InputError, match=r"picture 1 of .* cannot be read"):
        read([good, {"bytes": b"no picture", "path": None}])


@pytest.mark.filterwarnings("ignore:the generator gives values")
def test_what_cannot_be_fitted_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"what ebm_refine.pair gives"):
        ebm_refine.fit_ratio("mnist-gan", vectors(500, 1.0))
    with pytest.raises(InputError, match="at least 200 real samples"):
        ebm_refine.fit_ratio(normal_pair(), vectors(50, 1.0))
    with pytest.raises(InputError, match="steps must be"):
        ebm_refine.fit_ratio(normal_pair(), vectors(500, 1.0), steps=0)
    with pytest.raises(InputError, match="all 500 real samples are the same one"):
        ebm_refine.fit_ratio(normal_pair(), vectors(1, 1.0).expand(500, -1))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file' cannot hold the fit's state: Not a directory; name a folder"):
        ebm_refine.fit_ratio(normal_pair(), vectors(500, 1.0), steps=5, runs=tmp_path / "file")
    grey = lambda z, y: torch.tanh(z[:, :1, None, None] + y[:, None, None, None]).expand(-1, 1, 8, 8)  # noqa: E731
    labelled = ebm_refine.pair(grey, latent=3, labels=2)
    pictures = np.random.default_rng(0).integers(0, 256, (300, 8, 8), dtype=np.uint8)
    with pytest.raises(InputError, match="real has labels up to 2, but 'mine' has classes 0 to 1"):
        ebm_refine.fit_ratio(labelled, (pictures, np.arange(300) % 3))


MODULE = """
import ebm_refine
def make(): return ebm_refine.pair(lambda z: z, lambda x: x[:, 0], latent=3, name="made")
def wrong(): return 3
def fails(): raise RuntimeError("no\\nweights")
def leaves(): raise SystemExit(3)
number = 3
"""


def test_the_command_line_takes_a_function_of_the_current_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_gan.py").write_text(MODULE)
    (tmp_path / "my_own_script.py").write_text("import sys\nsys.exit(0)\n")
    assert main(["refine", "--model", "my_own_gan:make", "--method", "mala", "--num-images", "5", "--out", "out"]) == 0
    assert (tmp_path / "out" / "samples.npz").exists()
    np.save("real.npy", vectors(400, 1.0).numpy())
    assert (
        main(["fit-ratio", "--model", "my_own_gan:make", "--real", "real.npy", "--steps", "20", "--out", "r.safetensors"]) == 0
    )
    assert "use it with ebm_refine.pair" in capsys.readouterr().out
    for model, expected in [
        ("my_own_gan:wrong", "must return what ebm_refine.pair gives; got 3"),
        ("my_own_gan:fails", "fails() failed: RuntimeError: no weights"),
        ("my_own_gan:leaves", "leaves() failed: SystemExit: 3"),
        ("my_own_script:make", "ends the program when it is imported (exit 0): guard"),
        ("my_own_gan:number", "no function 'number'"),
        ("my_own_gan:none", "no function 'none'"),
        ("no_such_gan:make", "no module 'no_such_gan'"),
    ]:
        assert main(["refine", "--model", model, "--out", "bad"]) == 2
        said = capsys.readouterr().err.strip()
        assert expected in said
        assert "\n" not in said
    assert not (tmp_path / "bad").exists()
    with pytest.raises(InputError, match="model must be"):
        ebm_refine.load("my_own_gan:make")


@pytest.mark.slow
def test_the_package_loads_training_only_when_asked():
    code = "import sys, ebm_refine; assert 'ebm_refine.training' not in sys.modules; ebm_refine.fit_ratio"
    subprocess.run([sys.executable, "-c", code], check=True)
