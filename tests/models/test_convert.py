"""`import`: public DCGAN pairs give, as checkpoints, what the modules they came from gave; anything else is refused."""

import collections
import copy
import itertools
import json
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm

from ebm_refine.catalogue import load
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models.convert.convert import import_pair
from ebm_refine.pipeline import refine


class Named(nn.Module):
    """A module whose layers lie in one nn.Sequential under `name`, as in most public DCGANs."""

    def __init__(self, name, *layers):
        super().__init__()
        self.name = name
        setattr(self, name, nn.Sequential(*layers))

    def forward(self, given):
        return getattr(self, self.name)(given)


def up(before, after, kernel=4, stride=2, padding=1, bias=False):
    return [nn.ConvTranspose2d(before, after, kernel, stride, padding, bias=bias), nn.BatchNorm2d(after), nn.ReLU(True)]


def down(before, after, norm=True, bias=False):
    return [nn.Conv2d(before, after, 4, 2, 1, bias=bias), *([nn.BatchNorm2d(after)] if norm else []), nn.LeakyReLU(0.2, True)]


def example_generator(nz=10, nf=4, nc=3, name="main"):
    """The PyTorch example's: 64x64."""
    last = [nn.ConvTranspose2d(nf, nc, 4, 2, 1, bias=False), nn.Tanh()]
    widths = (8 * nf, 4 * nf, 2 * nf, nf)
    middle = [layer for before, after in itertools.pairwise(widths) for layer in up(before, after)]
    return Named(name, *up(nz, 8 * nf, 4, 1, 0), *middle, *last)


def example_discriminator(nf=4, nc=3, name="main"):
    layers = [*down(nc, nf, norm=False), *down(nf, 2 * nf), *down(2 * nf, 4 * nf), *down(4 * nf, 8 * nf)]
    return Named(name, *layers, nn.Conv2d(8 * nf, 1, 4, 1, 0, bias=False), nn.Sigmoid())


def small_generator(nz=10, nc=3):
    """The CIFAR layout of csinva/gan-vae-pretrained-pytorch: a last kernel of 1, 32x32."""
    layers = [*up(nz, 32, 4, 1, 0), *up(32, 16), *up(16, 8), *up(8, 4)]
    return Named("main", *layers, nn.ConvTranspose2d(4, nc, 1, 1, 0, bias=False), nn.Tanh())


def small_discriminator(nc=3):
    """Its partner: four halvings, and a head of kernel 2 and stride 2."""
    layers = [*down(nc, 4, norm=False), *down(4, 8), *down(8, 16), *down(16, 32)]
    return Named("main", *layers, nn.Conv2d(32, 1, 2, 2, 0, bias=False), nn.Sigmoid())


def linear_generator(norm="2d", last_kernel=4):
    """Linear first, with biases everywhere, as in course notebooks."""
    view, act = nn.Unflatten(1, (16, 4, 4)), nn.ReLU(True)
    first = {"2d": [view, nn.BatchNorm2d(16), act], "1d": [nn.BatchNorm1d(256), act, view]}[norm]
    middle = [*up(16, 8, bias=True), *up(8, 4, bias=True), *(up(4, 4, bias=True) if last_kernel != 4 else [])]
    last = nn.ConvTranspose2d(4, 3, last_kernel, *{4: (2, 1), 3: (1, 1)}[last_kernel])
    return Named("layers", nn.Linear(10, 256), *first, *middle, last, nn.Tanh())


def biased_discriminator(norms=(False, False, False)):
    """Three halvings of 32x32, biases, and a flattened linear head."""
    layers = [*down(3, 4, norms[0], True), *down(4, 8, norms[1], True), *down(8, 16, norms[2], True)]
    return Named("net", *layers, nn.Flatten(), nn.Linear(16 * 16, 1), nn.Sigmoid())


class Attributes(nn.Module):
    """Layers as attributes, all norms after all convolutions, and activations in `forward`."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 4, 4, 2, 1), nn.Conv2d(4, 8, 4, 2, 1), nn.Conv2d(8, 16, 4, 2, 1)
        self.out = nn.Conv2d(16, 1, 4)
        self.bn2, self.bn3 = nn.BatchNorm2d(8), nn.BatchNorm2d(16)

    def forward(self, images):
        hidden = nn.functional.leaky_relu(self.conv1(images), 0.2)
        hidden = nn.functional.leaky_relu(self.bn2(self.conv2(hidden)), 0.2)
        hidden = nn.functional.leaky_relu(self.bn3(self.conv3(hidden)), 0.2)
        return torch.sigmoid(self.out(hidden))


def lived_in(module, seed=0):
    """Weights and running statistics as of a trained network, and eval mode."""
    source = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        drawn = torch.randn(value.shape, generator=source)
        if name.endswith("running_var"):
            value.copy_(drawn.square() + 0.3)
        elif value.ndim > 1:
            value.copy_(4 * drawn / value[0].numel() ** 0.5)
        elif not name.endswith(("_u", "_v")):
            value.copy_(0.5 * drawn + (1.0 if name.endswith("weight") else 0.0))
    return module.eval()


def saved(folder, generator, discriminator, wrap=lambda state: state):
    torch.save(wrap(generator.state_dict()), folder / "netG.pth")
    torch.save(wrap(discriminator.state_dict()), folder / "netD.pth")
    return folder / "netG.pth", folder / "netD.pth", folder / "pair"


def see_that_outputs_agree(checkpoint, generator, discriminator, latent=10):
    """In float64, since the order of float32 sums differs from processor to processor."""
    latents = torch.randn(6, latent, generator=torch.Generator().manual_seed(1)).double()
    generator, discriminator = (module.double() for module in (generator, discriminator))
    networks = {role: copy.deepcopy(network).double() for role, network in checkpoint.networks.items()}
    with torch.no_grad():
        flat = any(isinstance(module, nn.Linear) for module in generator.modules())
        images = generator(latents if flat else latents[:, :, None, None])
        probability = discriminator(images).flatten()
        ours = networks["generator"](latents)
        logits = networks["discriminator"](images)
    assert images.std() > 0.05
    assert logits.std() > 0.01, "too flat a discriminator to tell"
    torch.testing.assert_close(ours, images, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.sigmoid(logits), probability, rtol=1e-4, atol=1e-6)
    assert list(ours.shape[1:]) == checkpoint.config["data"]["shape"]


PAIRS = {
    "pytorch-example": (example_generator, example_discriminator),
    "csinva-cifar10": (small_generator, small_discriminator),
    "one-channel": (lambda: small_generator(nc=1), lambda: small_discriminator(nc=1)),
    "linear-2d-norm": (linear_generator, biased_discriminator),
    "linear-1d-norm": (lambda: linear_generator("1d"), biased_discriminator),
    "last-kernel-3": (lambda: linear_generator(last_kernel=3), biased_discriminator),
    "norms-everywhere": (linear_generator, lambda: biased_discriminator((True, True, True))),
    "norms-as-in-the-paper": (linear_generator, lambda: biased_discriminator((False, True, True))),
    "attributes": (linear_generator, Attributes),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_public_pair_computes_the_same(tmp_path, name):
    generator, discriminator = (lived_in(make()) for make in PAIRS[name])
    checkpoint = import_pair(*saved(tmp_path, generator, discriminator), dataset="cifar10")
    see_that_outputs_agree(checkpoint, generator, discriminator)


def test_arguments_are_read_off_the_shapes(tmp_path):
    files = saved(tmp_path, lived_in(small_generator()), lived_in(small_discriminator()))
    parts = import_pair(*files, dataset="cifar10").config["parts"]
    assert parts["generator"]["arguments"] == {
        "latent": 10, "widths": [32, 16, 8, 4], "channels": 3, "stem": "transposed", "last_kernel": 1, "bias": False
    }  # fmt: skip
    assert parts["discriminator"]["arguments"] == {
        "widths": [4, 8, 16, 32], "channels": 3, "norm": "batch", "bias": False, "head_kernel": 2
    }  # fmt: skip


def test_an_imported_pair_is_refined_from_its_folder(tmp_path):
    files = saved(tmp_path, lived_in(small_generator()), lived_in(small_discriminator()))
    import_pair(*files, dataset="cifar10", title="A pair of others", source="https://example.org/pair", license="bsd-3-clause")
    checkpoint = load(tmp_path / "pair")
    assert checkpoint.config["title"] == "A pair of others"
    assert len(checkpoint.config["training"]["generator_sha256"]) == 64
    result = refine(checkpoint, "langevin", eps=0.01, n_steps=2, num_images=3)
    assert result.after.shape == (3, 3, 32, 32)
    assert not torch.equal(result.before, result.after)
    card = (tmp_path / "pair" / "README.md").read_text()
    assert "https://example.org/pair" in card
    assert "license: bsd-3-clause" in card
    assert str(tmp_path) not in (tmp_path / "pair" / "config.json").read_text() + card


@pytest.mark.parametrize("style", ["hook", "parametrization"])
@pytest.mark.parametrize("of_generator", [False, True])
def test_spectral_norms_are_baked(tmp_path, style, of_generator):
    normalise = spectral_norm if style == "hook" else parametrizations.spectral_norm
    generator, discriminator = lived_in(small_generator()), lived_in(biased_discriminator())
    for module in (generator if of_generator else discriminator).modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            normalise(module)
    generator.train()(torch.randn(8, 10, 1, 1))  # one power iteration, so that u and v are those of a network in use
    discriminator.train()(torch.randn(8, 3, 32, 32))
    checkpoint = import_pair(*saved(tmp_path, generator.eval(), discriminator.eval()), dataset="cifar10")
    assert not any("orig" in key for key in checkpoint.networks["discriminator"].state_dict())
    see_that_outputs_agree(checkpoint, generator, discriminator)


def both(generator, discriminator):
    return {
        "bare": None,
        "named": {"generator": generator, "discriminator": discriminator},
        "short": {"epoch": 3, "netG": generator, "netD": discriminator, "optimG": {"state": {}, "param_groups": [{}]}},
        "long": {"G_state_dict": generator, "D_state_dict": discriminator, "loss": 0.5},
        "nested": {"model": {"generator": {"state_dict": generator}, "discriminator": {"state_dict": discriminator}}},
        "one module": {
            **{f"generator.{key}": value for key, value in generator.items()},
            **{f"discriminator.{key}": value for key, value in discriminator.items()},
        },
    }


@pytest.mark.parametrize("how", ["named", "short", "long", "nested", "one module"])
def test_both_networks_in_one_file(tmp_path, how):
    generator, discriminator = lived_in(small_generator()), lived_in(small_discriminator())
    torch.save(both(generator.state_dict(), discriminator.state_dict())[how], tmp_path / "both.pt")
    checkpoint = import_pair(tmp_path / "both.pt", None, tmp_path / "pair", dataset="cifar10")
    see_that_outputs_agree(checkpoint, generator, discriminator)


WRAPPINGS = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 7},
    "model_state_dict": lambda state: {"epoch": 7, "model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "half precision": lambda state: {key: value.half().float() if value.ndim else value for key, value in state.items()},
    "before torch 0.4": lambda state: collections.OrderedDict(
        (key, value) for key, value in state.items() if not key.endswith("num_batches_tracked")
    ),
}


@pytest.mark.parametrize("how", WRAPPINGS)
def test_wrapped_state_dicts(tmp_path, how):
    generator, discriminator = lived_in(small_generator()), lived_in(small_discriminator())
    checkpoint = import_pair(*saved(tmp_path, generator, discriminator, WRAPPINGS[how]), dataset="cifar10")
    if how != "half precision":
        see_that_outputs_agree(checkpoint, generator, discriminator)


def test_the_old_file_format(tmp_path):
    generator, discriminator = lived_in(small_generator()), lived_in(small_discriminator())
    files = saved(tmp_path, generator, discriminator)
    torch.save(generator.state_dict(), files[0], _use_new_zipfile_serialization=False)
    see_that_outputs_agree(import_pair(*files, dataset="cifar10"), generator, discriminator)


# --- what is refused


def refusal(generator_file, discriminator_file, out, **options):
    with pytest.raises(CheckpointError) as caught:
        import_pair(generator_file, discriminator_file, out, dataset="cifar10", **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert not out.exists()
    return message


@pytest.fixture
def files(tmp_path):
    return saved(tmp_path, lived_in(small_generator()), lived_in(small_discriminator()))


def test_a_missing_file(files):
    files[0].unlink()
    assert f"{files[0]} cannot be read: No such file" in refusal(*files)
    files[0].mkdir()
    assert f"{files[0]} cannot be read: Is a directory" in refusal(*files)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file(files, zipped, share):
    torch.save(lived_in(small_generator()).state_dict(), files[0], _use_new_zipfile_serialization=zipped)
    content = files[0].read_bytes()
    files[0].write_bytes(content[: int(share * len(content))])
    assert f"{files[0]} is truncated, or no PyTorch file of weights" in refusal(*files)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>Not found</html>", b"\0" * 100, b"PK\x03\x04 no zip", b"hello"])
def test_a_file_of_another_sort(files, content):
    files[1].write_bytes(content)
    assert f"{files[1]} is truncated, or no PyTorch file of weights" in refusal(*files)


def test_a_git_lfs_pointer(files):
    files[0].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert "is a Git-LFS pointer" in refusal(*files)


class Bomb:
    """Unpickled with code allowed, it would fail this process's test."""

    gone_off = False

    def __reduce__(self):
        return (setattr, (Bomb, "gone_off", True))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("what", ["module", "bomb"])
def test_code_in_a_file_is_never_run(files, zipped, what):
    content = small_generator() if what == "module" else {"main.0.weight": Bomb()}
    torch.save(content, files[0], _use_new_zipfile_serialization=zipped)
    message = refusal(*files)
    assert "holds Python objects that only running code from the file could restore" in message
    assert "state_dict()" in message
    assert not Bomb.gone_off


def test_a_bare_pickle(files):
    files[0].write_bytes(pickle.dumps({"a": [1, 2]}, protocol=2))
    assert "no PyTorch file of weights" in refusal(*files)


@pytest.mark.parametrize("content", [[1, 2], {}, torch.zeros(3), {"epoch": 3}, {"encoder": {"w": torch.zeros(1)}}, 5])
def test_something_else_than_weights(files, content):
    torch.save(content, files[0])
    assert f"{files[0]} holds no" in refusal(*files)


def test_a_file_with_the_other_network_only(files):
    torch.save({"generator": lived_in(small_generator()).state_dict()}, files[0])
    message = refusal(files[0], None, files[2])
    assert "holds no discriminator" in message


def test_networks_the_wrong_way_round(files):
    assert str(files[1]) in refusal(files[1], files[0], files[2])


def drop_and_rename(state, start):
    for key in list(state):
        value = state.pop(key)
        if not key.startswith(start):
            state[key.replace("main.", "layer")] = value


def edited(file, change):
    state = torch.load(file, weights_only=True)
    change(state)
    torch.save(state, file)


@pytest.mark.parametrize(
    ("which", "change", "expected"),
    [
        (0, lambda state: state.update(extra=torch.zeros(3)), "is no layer of a DCGAN"),
        (0, lambda state: state.pop("main.1.running_var"), "is no layer of a DCGAN"),
        (0, lambda state: state.pop("main.3.weight"), "fits more than one layer"),
        (0, lambda state: state.update({"main.3.weight": torch.zeros(32, 16, 5, 5)}), "has a kernel of 5x5"),
        (0, lambda state: state.update({"main.0.weight": torch.zeros(10, 32, 9, 9)}), "has a kernel of 9x9, not of 4x4"),
        (0, lambda state: state.update({"main.3.weight": torch.zeros(31, 16, 4, 4)}), "does not take the 32 channels"),
        (0, lambda state: state["main.0.weight"].fill_(float("nan")), "not finite"),
        (0, lambda state: state.update({"main.0.weight": torch.zeros(0, 32, 4, 4)}), "is empty"),
        (0, lambda state: state.update({"main.0.weight": torch.zeros(10, 32, 4, 4).int()}), "is no layer of a DCGAN"),
        (0, lambda state: state.update({"main.0.bias": torch.zeros(31)}), "is no layer of a DCGAN"),
        (0, lambda state: [state.pop(key) for key in list(state) if key.startswith("main.4.")], "lies something else"),
        (0, lambda state: drop_and_rename(state, "main.4."), "no batch norm behind 'layer3'"),
        (0, lambda state: [state.pop(key) for key in list(state) if key.startswith("main.1")], "lies something else"),
        (0, lambda state: [state.pop(key) for key in list(state) if not key.startswith("main.0")], "has 1 layers"),
        (1, lambda state: state.update({"main.11.weight": torch.zeros(2, 32, 2, 2)}), "gives 2 numbers an image"),
        (1, lambda state: state.update({"main.2.weight": torch.zeros(8, 4, 3, 3)}), "has a kernel of 3x3"),
        (1, lambda state: state.update({"main.11.weight": torch.zeros(1, 32, 2, 3)}), "does not take square maps"),
        (1, lambda state: state.update({"main.11.weight": torch.zeros(1, 33, 2, 2)}), "does not take square maps"),
        (1, lambda state: state.update({"main.11.weight": torch.zeros(1, 32, 4, 4)}), "reads images of 3x64x64"),
        (1, lambda state: state.update({"main.0.weight": torch.zeros(4, 1, 4, 4)}), "reads images of 1x32x32"),
        (1, lambda state: state.update({"main.2.weight_u": torch.zeros(8)}), "is no layer of a DCGAN"),
    ],
)  # fmt: skip
def test_a_state_dict_that_is_no_dcgan(files, which, change, expected):
    edited(files[which], change)
    message = refusal(*files)
    assert expected in message
    assert str(files[which]) in message


def test_a_broken_spectral_norm(files):
    def change(state):
        state["main.2.weight_orig"] = state.pop("main.2.weight")
        state["main.2.weight_u"] = torch.zeros(3)

    edited(files[1], change)
    assert "has no spectral norm that fits it" in refusal(*files)


def test_a_norm_after_the_activation_is_another_network(tmp_path):
    layers = [nn.Conv2d(3, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.BatchNorm2d(8)]
    discriminator = Named("main", *layers, nn.Conv2d(8, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 4), nn.Sigmoid())
    assert "lies something else than in a DCGAN" in refusal(*saved(tmp_path, linear_generator(), discriminator))


def test_images_of_another_size(files):
    assert "makes images of 32x32, not of 31x31" in refusal(*files, image_size=31)
    assert "reads images of 3x32x32, but the generator makes 3x28x28" in refusal(*files, image_size=28)


def test_a_linear_stem_onto_other_maps(tmp_path):
    generator = Named("m", nn.Linear(10, 16 * 81), nn.Unflatten(1, (16, 9, 9)), nn.BatchNorm2d(16), nn.ReLU(), *up(16, 8),
                      nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh())  # fmt: skip
    assert "makes 1296 numbers, not 16 maps of 4x4 or 7x7" in refusal(*saved(tmp_path, generator, biased_discriminator()))


def test_an_older_import_stays_whole_where_a_new_one_fails(files):
    import_pair(*files, dataset="cifar10")
    before = {file.name: file.read_bytes() for file in files[2].iterdir()}
    files[1].write_bytes(b"damaged")
    with pytest.raises(CheckpointError):
        import_pair(*files, dataset="cifar10")
    assert {file.name: file.read_bytes() for file in files[2].iterdir()} == before


def test_an_output_folder_that_is_a_file(files):
    files[2].write_text("mine")
    with pytest.raises(InputError, match="is a file; name a folder"):
        import_pair(*files, dataset="cifar10")
    assert files[2].read_text() == "mine"


def test_the_config_is_plain_json(files):
    import_pair(*files, dataset="cifar10")
    config = json.loads((files[2] / "config.json").read_text())
    assert config["discriminator_output"] == "logit"
    assert config["prior"] == {"name": "normal", "dim": 10}
    assert "license: unknown" in (files[2] / "README.md").read_text()
