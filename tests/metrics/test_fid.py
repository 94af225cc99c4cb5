"""FID: refusals, the download's edge on loopback, the reference cache, and the number itself against its closed form."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from ebm_refine.errors import InputError
from ebm_refine.metrics import fid as inception
from ebm_refine.metrics.fid import Inception, Moments, open_inception, reference_moments


class MeanColours(nn.Module):
    """A tiny extractor: the mean of each colour, so that the moments have a closed form."""

    num_features = 3

    def forward(self, images):
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        return images.double().mean(dim=(2, 3))


@pytest.fixture
def tiny():
    return Inception(FrechetInceptionDistance(feature=MeanColours(), normalize=False), "ab" * 32)


def colours(count, shift=0.0, seed=0):
    """Flat images whose colours are independent, with a known spread."""
    drawn = np.random.default_rng(seed).normal(120 + shift, 20, size=(count, 3)).clip(0, 255).astype(np.uint8)
    return torch.from_numpy(drawn)[:, :, None, None].expand(-1, -1, 4, 4).contiguous()


def test_fid_is_the_distance_of_gaussians(tiny):
    real, fake = colours(3000), colours(2048, shift=10, seed=1)
    a, b = real[:, :, 0, 0].double().numpy(), fake[:, :, 0, 0].double().numpy()
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).real).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * root
    reference = tiny.moments(real.split(700))
    assert reference.images == 3000
    np.testing.assert_allclose(reference.covariance.numpy(), cov_a, rtol=1e-8)
    assert tiny.fid(fake, reference) == pytest.approx(expected, rel=1e-6)
    assert tiny.fid(real, reference) == pytest.approx(0, abs=1e-4)
    assert tiny.fid(fake, reference) == pytest.approx(expected, rel=1e-6)  # nothing is left over from before


def test_one_channel_images_are_taken_as_grey(tiny):
    grey = colours(2048)[:, :1]
    moments = tiny.moments([grey])
    assert torch.allclose(moments.mean, moments.mean[:1].expand(3))


@pytest.mark.parametrize(("own", "real"), [(2047, 5000), (64, 2048), (2048, 2047), (0, 5000)])
def test_too_few_images_on_either_side(tiny, own, real):
    reference = Moments(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64), real)
    with pytest.raises(InputError, match=f"at least 2048 images on either side; got {own} and {real}"):
        tiny.fid(colours(own) if own else torch.zeros(0, 3, 4, 4, dtype=torch.uint8), reference)


def test_too_few_reference_images(tiny, tmp_path):
    with pytest.raises(InputError, match="at least 2048 images on either side; got 100"):
        tiny.moments([colours(100)])
    with pytest.raises(InputError, match="at least 2048 images on either side; got 2000"):
        reference_moments(tiny, "any", count=2000, cache=tmp_path)


# --- the reference


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set on disk in the Hub's column layout."""
    folder = tmp_path_factory.mktemp("data")
    pixels = colours(2100).permute(0, 2, 3, 1).numpy()
    rows = Dataset.from_dict(
        {"img": list(pixels), "label": [0] * len(pixels)}, features=Features({"img": Image(), "label": Value("int64")})
    )
    rows.to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


def test_reference_moments_are_measured_once(tiny, data, tmp_path, monkeypatch, no_cache):
    expected = tiny.moments([colours(2100)])
    cache = tmp_path / "cache"
    measured = reference_moments(tiny, str(data), "train", cache=cache)
    assert measured.images == 2100
    assert torch.allclose(measured.mean, expected.mean)
    monkeypatch.setattr(tiny, "moments", None)  # from here on it can only be read
    stored = reference_moments(tiny, str(data), "train", cache=cache)
    assert torch.equal(stored.covariance, measured.covariance)
    assert stored.images == 2100


def test_another_count_or_extractor_is_another_reference(tiny, data, tmp_path, no_cache):
    reference_moments(tiny, str(data), "train", cache=tmp_path / "cache")
    assert reference_moments(tiny, str(data), "train", 2048, tmp_path / "cache").images == 2048
    reference_moments(Inception(tiny.metric, "cd" * 32), str(data), "train", cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.slow
def test_a_damaged_cache_is_measured_anew(tiny, data, tmp_path, no_cache):
    cache = tmp_path / "cache"
    first = reference_moments(tiny, str(data), "train", cache=cache)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert torch.equal(reference_moments(tiny, str(data), "train", cache=cache).mean, first.mean)


def test_reference_images_that_cannot_be_had(tiny, data, tmp_path, no_cache, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    cache = tmp_path / "cache"
    with pytest.raises(InputError, match=r"reference images .*nowhere.* cannot be read"):
        reference_moments(tiny, str(tmp_path / "nowhere"), cache=cache)
    with pytest.raises(InputError, match="split 'validation', cannot be read"):
        reference_moments(tiny, str(data), "validation", cache=cache)
    with pytest.raises(InputError, match="has 2100 images in split 'train', fewer than 5000"):
        reference_moments(tiny, str(data), "train", 5000, cache)
    Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "text" / "train.parquet")
    several = [np.zeros((size, size, 3), np.uint8) for size in (4, 5)]
    Dataset.from_dict({"img": several}, features=Features({"img": Image()})).to_parquet(tmp_path / "sizes" / "train.parquet")
    with pytest.raises(InputError, match="has images of several sizes in column 'img'"):
        reference_moments(tiny, str(tmp_path / "sizes"), "train", cache=cache)
    with pytest.raises(InputError, match="has no column of images, only text"):
        reference_moments(tiny, str(tmp_path / "text"), "train", cache=cache)
    assert not cache.exists()


# --- the weights


@pytest.fixture
def weights_server(tmp_path, monkeypatch):
    """Serves `content[0]` in the place of the published weights, or status 404 where that is None."""
    content = [b"not the weights"]
    asked, missing = [], [0]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404 if content[0] is None else 200)
            self.send_header("Content-Length", str(len(content[0] or b"") + missing[0]))
            self.end_headers()
            self.wfile.write(content[0] or b"")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setattr(inception, "URL", f"http://127.0.0.1:{server.server_address[1]}/weights.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    yield content, asked, missing
    server.shutdown()
    server.server_close()


def test_a_download_with_a_wrong_hash_is_not_kept(weights_server, tmp_path):
    with pytest.raises(InputError, match="gave something else than the Inception-v3 weights: its sha256 begins"):
        open_inception()
    assert not list((tmp_path / "torch").rglob("*.pth"))


def test_weights_that_cannot_be_had(weights_server, monkeypatch):
    weights_server[0][0] = None
    with pytest.raises(InputError, match=r"cannot be had from http://127.*\(Not Found\); check the network, or fetch them"):
        open_inception()
    weights_server[0][0], weights_server[2][0] = b"half of", 7
    with pytest.raises(InputError, match=r"cannot be had from .*IncompleteRead"):
        open_inception()
    monkeypatch.setattr(inception, "URL", "http://127.0.0.1:9/weights.pth")
    with pytest.raises(InputError, match=r"cannot be had from .*Connection refused.*\); check the network"):
        open_inception()


def test_a_file_that_is_not_the_weights(weights_server, tmp_path):
    file = tmp_path / "other.pth"
    with pytest.raises(InputError, match=r"other.pth' are not there; they are published as"):
        open_inception(file)
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(InputError, match=r"is not the Inception-v3 weights: its sha256 begins .*, not 6726825d"):
        open_inception(file)
    assert weights_server[1] == []


def test_nothing_is_loaded_before_its_hash_is_known(weights_server, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("opened")

    monkeypatch.setattr(torch, "load", refuse)
    (tmp_path / "other.pth").write_bytes(b"\x80\x02 a pickle")
    with pytest.raises(InputError, match="is not the Inception-v3 weights"):
        open_inception(tmp_path / "other.pth")


@pytest.mark.slow
def test_the_network_is_built_from_the_file_and_is_torchmetrics_own(weights_server, tmp_path, monkeypatch):
    """With random weights in the place of the real ones: 2,048 features, no antialiasing, the same numbers as torchmetrics."""
    from torch_fidelity import feature_extractor_inceptionv3 as original

    made: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(original, "load_state_dict_from_url", lambda *_, **__: made)
    monkeypatch.setattr(original.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    network = original.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    monkeypatch.undo()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = tmp_path / "torch" / "hub" / "checkpoints" / inception.URL.rsplit("/", 1)[1]
    file.parent.mkdir(parents=True)
    torch.save(network.state_dict(), file)
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    opened = open_inception()
    assert opened.describe()["sha256"] == inception.SHA256
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    features = opened.metric.inception(images)
    assert features.shape == (2, 2048)
    own = network.forward(images)[0]
    torch.testing.assert_close(features, own.float(), rtol=1e-4, atol=1e-5)
