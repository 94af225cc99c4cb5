"""Layouts of public files, with random weights: read exactly; under a printed assumption that an option changes; or refused."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from test_convert import (
    Named,
    biased_discriminator,
    down,
    example_discriminator,
    example_generator,
    linear_generator,
    lived_in,
    small_discriminator,
    small_generator,
    up,
)
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.optim.swa_utils import AveragedModel

from ebm_refine.cli import main
from ebm_refine.errors import CheckpointError
from ebm_refine.models.convert.convert import import_energy, import_pair
from ebm_refine.models.convert.import_options import ImportOptions
from ebm_refine.models.networks.energy_cnn import EnergyCNN

LATENT = 10


def acts(module: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    """The module with other activations within."""
    layers = getattr(module, module.name)
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.ReLU | nn.LeakyReLU):
            layers[place] = make()
    return module


def last(module: nn.Module, layer: nn.Module) -> nn.Module:
    getattr(module, module.name)[-1] = layer
    return module


def norms(module: nn.Module, **changed: Any) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            for name, value in changed.items():
                setattr(layer, name, value)
    return module


def seven(stem: str = "transposed") -> nn.Module:
    first = (
        [nn.Linear(LATENT, 8 * 49), nn.Unflatten(1, (8, 7, 7)), nn.BatchNorm2d(8), nn.ReLU()]
        if stem == "linear"
        else up(LATENT, 8, 7, 1, 0)
    )
    return Named("main", *first, *up(8, 4, bias=stem == "linear"), nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Tanh())


def seven_discriminator(flat: bool = False) -> nn.Module:
    head = [nn.Flatten(), nn.Linear(8 * 49, 1)] if flat else [nn.Conv2d(8, 1, 7)]
    return Named("main", *down(1, 4, False, True), *down(4, 8, False, True), *head)


def padded() -> nn.Module:
    """The digits of csinva/gan-vae-pretrained-pytorch: a last kernel of 1 with padding 2, 28x28."""
    layers = [*up(LATENT, 32, 4, 1, 0), *up(32, 16), *up(16, 8), *up(8, 4)]
    return Named("main", *layers, nn.ConvTranspose2d(4, 1, 1, 1, 2, bias=False), nn.Tanh())


def padded_discriminator() -> nn.Module:
    return Named("main", *down(1, 4, False), *down(4, 8), *down(8, 16), nn.Conv2d(16, 1, 4, 2, 1, bias=False), nn.Sigmoid())


def mlp(*sizes: int, act: Callable[[], nn.Module] = nn.ReLU, end: nn.Module | None = None, norm: float = 0) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        behind = [nn.BatchNorm1d(after, norm)] if norm and after != sizes[-1] and before != sizes[0] else []
        layers += [nn.Linear(before, after), *behind, act()]
    return Named("main", *layers[:-1], *([end] if end else []))


def leaky(slope: float = 0.2) -> Callable[[], nn.Module]:
    return lambda: nn.LeakyReLU(slope)


def g_mlp(**options: Any) -> nn.Module:
    return mlp(LATENT, 16, 24, 784, end=nn.Tanh(), **options)


def d_mlp(**options: Any) -> nn.Module:
    return mlp(784, 16, 12, 1, **{"act": leaky(), **options})


def plain(g: dict, d: dict) -> dict[str, Any]:
    return {"netG.pth": g, "netD.pth": d}


def together(**names: str) -> Callable[[dict, dict], dict[str, Any]]:
    return lambda g, d: {"both.pth": {names["g"]: g, names["d"]: d, "epoch": 3, "optimizer": {"state": {}}}}


def renamed(state: dict, prefix: str) -> dict:
    return {prefix + key: value for key, value in state.items()}


def mapped(state: dict, change: Callable[[torch.Tensor], torch.Tensor]) -> dict:
    return {key: change(value) if value.ndim > 1 else value for key, value in state.items()}


def prefixed(g_prefix: str, d_prefix: str, wrap: Callable[[dict], Any] = lambda state: state) -> Callable[[dict, dict], dict]:
    return lambda g, d: {"both.pth": wrap({**renamed(g, g_prefix), **renamed(d, d_prefix)})}


class Row(NamedTuple):
    g: Callable[[], nn.Module]
    d: Callable[[], nn.Module]
    files: Callable[[dict, dict], dict[str, Any]] = plain
    options: tuple[tuple[str, Any], ...] = ()
    size: int | None = None


def small(files: Callable[[dict, dict], dict[str, Any]] = plain, **options: Any) -> Row:
    return Row(small_generator, small_discriminator, files, tuple(options.items()))


def averaged(g: dict, d: dict) -> dict[str, Any]:
    worse = {key: value + 1 if value.is_floating_point() else value for key, value in g.items()}
    return {"both.pth": {"G": worse, "D": d, "G_ema": g}}


def normed(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    module = biased_discriminator()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            wrap(layer)
    module.train()(torch.randn(4, 3, 32, 32))
    return module


EXACT = {
    "PyTorch example": Row(example_generator, example_discriminator),
    "csinva CIFAR": small(),
    "7x7 transposed stem": Row(seven, seven_discriminator),
    "7x7 linear stem": Row(lambda: seven("linear"), lambda: seven_discriminator(flat=True)),
    "linear stem": Row(linear_generator, biased_discriminator),
    "linear stem, last kernel 3": Row(lambda: linear_generator(last_kernel=3), biased_discriminator),
    "perceptrons": Row(g_mlp, d_mlp),
    "two-layer perceptrons": Row(lambda: mlp(LATENT, 32, 784, end=nn.Tanh()), lambda: mlp(784, 32, 1, act=leaky())),
    "perceptrons with batch norms": Row(lambda: g_mlp(norm=1e-5), d_mlp),
    "perceptron with dropout": Row(
        g_mlp,
        lambda: Named(
            "main",
            nn.Linear(784, 16),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.3),
            nn.Linear(16, 8),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.3),
            nn.Linear(8, 1),
        ),
    ),
    "old spectral norm": Row(linear_generator, lambda: normed(spectral_norm)),
    "new spectral norm": Row(linear_generator, lambda: normed(parametrizations.spectral_norm)),
    "old weight norm": Row(linear_generator, lambda: normed(weight_norm)),
    "new weight norm": Row(linear_generator, lambda: normed(parametrizations.weight_norm)),
    "module.": small(lambda g, d: plain(renamed(g, "module."), renamed(d, "module."))),
    "_orig_mod.": small(lambda g, d: plain(renamed(g, "_orig_mod."), renamed(d, "_orig_mod."))),
    "state_dict": small(lambda g, d: plain({"state_dict": g, "epoch": 3}, {"state_dict": d})),
    "model": small(lambda g, d: plain({"model": g}, {"model": d})),
    "netG and netD": small(together(g="netG", d="netD")),
    "gen and critic": small(together(g="gen", d="critic"), output="critic"),
    "G_state_dict": small(together(g="G_state_dict", d="D_state_dict")),
    "Lightning": small(prefixed("generator.", "discriminator.", lambda state: {"state_dict": state, "hyper_parameters": {}})),
    "Lightning, inner model": small(prefixed("model.generator.", "model.discriminator.", lambda state: {"state_dict": state})),
    "module.netG": small(prefixed("module.netG.", "module.netD.")),
    "average preferred": small(averaged),
    "AveragedModel": small(lambda g, d: plain({"n_averaged": torch.tensor(7), **renamed(g, "module.")}, d)),
    "half precision": small(lambda g, d: plain(g, d)),
    "safetensors": small(lambda g, d: {"g.safetensors": g, "d.safetensors": d}),
    "non-contiguous": small(lambda g, d: plain(mapped(g, lambda value: value.transpose(0, 1).contiguous().transpose(0, 1)), d)),
}
# name: (row without the option, options that read it rightly, what the assumption names)
ASSUMED = {
    "LeakyReLU generator": (Row(lambda: g_mlp(act=leaky()), d_mlp), {"activation": "leaky"}, "--activation"),
    "LeakyReLU DCGAN": (
        Row(lambda: acts(small_generator(), leaky()), small_discriminator),
        {"activation": "leaky"},
        "--activation",
    ),
    "ELU generator": (Row(lambda: g_mlp(act=nn.ELU), d_mlp), {"activation": "elu"}, "--activation"),
    "SELU generator": (Row(lambda: g_mlp(act=nn.SELU), d_mlp), {"activation": "selu"}, "--activation"),
    "GELU generator": (
        Row(lambda: acts(small_generator(), nn.GELU), small_discriminator),
        {"activation": "gelu"},
        "--activation",
    ),
    "ReLU discriminator": (Row(g_mlp, lambda: d_mlp(act=nn.ReLU)), {"d_activation": "relu"}, "--d-activation"),
    "ReLU DCGAN discriminator": (
        Row(small_generator, lambda: acts(small_discriminator(), nn.ReLU)),
        {"d_activation": "relu"},
        "--d-activation",
    ),
    "SiLU discriminator": (Row(g_mlp, lambda: d_mlp(act=nn.SiLU)), {"d_activation": "silu"}, "--d-activation"),
    "slope 0.01": (Row(g_mlp, lambda: d_mlp(act=leaky(0.01))), {"slope": 0.01}, "--slope"),
    "slope 0": (Row(small_generator, lambda: acts(small_discriminator(), leaky(0.0))), {"slope": 0.0}, "--slope"),
    "sigmoid generator": (
        Row(lambda: last(small_generator(), nn.Sigmoid()), small_discriminator),
        {"g_output": "sigmoid"},
        "--g-output",
    ),
    "sigmoid perceptrons": (Row(lambda: last(g_mlp(), nn.Sigmoid()), d_mlp), {"g_output": "sigmoid"}, "--g-output"),
    "batch norm eps 0.8": (
        Row(lambda: norms(small_generator(), eps=0.8), lambda: norms(small_discriminator(), eps=0.8)),
        {"norm_eps": 0.8},
        "--norm-eps",
    ),
    "perceptron eps 0.8": (Row(lambda: g_mlp(norm=0.8), d_mlp), {"norm_eps": 0.8}, "--norm-eps"),
}


def without_running(state: dict) -> dict:
    return {key: value for key, value in state.items() if "running" not in key and "num_batches" not in key}


def changed(state: dict, **values: Any) -> dict:
    return {**state, **{key.replace("__", "."): value for key, value in values.items()}}


REFUSED = {
    "generator alone": (small(lambda g, d: {"g.pth": {"G": g}}), "holds no discriminator.*ebm_refine.pair"),
    "one network for both": (small(prefixed("generator.", "encoder.")), "holds no discriminator.*ebm_refine.pair"),
    "InstanceNorm": (small(lambda g, d: plain(without_running(g), d)), "without running statistics.*ebm_refine.pair"),
    "float8": (
        small(lambda g, d: plain(mapped(g, lambda value: value.to(torch.float8_e4m3fn)), d)),
        "of type float8_e4m3fn; save",
    ),
    "sparse": (small(lambda g, d: plain(mapped(g, torch.Tensor.to_sparse), d)), "sparse or quantised tensor; save it dense"),
    "NaN": (small(lambda g, d: plain(mapped(g, lambda value: value * float("nan")), d)), "not finite"),
    "no file": (small(lambda g, d: {}), "cannot be read"),
    "PReLU": (Row(lambda: acts(g_mlp(), nn.PReLU), d_mlp), "PReLU.*ebm_refine.pair"),
    "colour and grey": (Row(lambda: small_generator(nc=1), small_discriminator), "reads images of 3x32x32"),
    "5x5 kernels": (
        small(lambda g, d: plain(mapped(g, lambda value: torch.zeros(*value.shape[:2], 5, 5)), d)),
        "kernel of 5x5",
    ),
    "two outputs": (Row(g_mlp, lambda: mlp(784, 16, 12, 2, act=leaky())), "gives 2 numbers an image"),
    "empty file": (small(lambda g, d: {"netG.pth": {}, "netD.pth": d}), "holds no state dict but an empty one"),
    "no layer": (small(lambda g, d: {"netG.pth": {"a": torch.zeros(3)}, "netD.pth": d}), "a tensor outside any layer is no"),
    "another file": (small(lambda g, d: {"netG.pth": "text", "netD.pth": d}), "holds no state dict but str"),
}


def written(folder: Any, row: Row) -> tuple[nn.Module, nn.Module, list[Any]]:
    generator, discriminator = lived_in(row.g(), 1), lived_in(row.d(), 2)
    paths = []
    for name, content in row.files(generator.state_dict(), discriminator.state_dict()).items():
        path = folder / name
        if path.suffix == ".safetensors":
            save_file({key: value.contiguous() for key, value in content.items()}, path)
        else:
            torch.save(content, path)
        paths.append(path)
    paths = paths or [folder / "missing.pth"]
    return generator, discriminator, [*paths, None][:2]


@torch.no_grad()
def apart(checkpoint: Any, generator: nn.Module, discriminator: nn.Module) -> tuple[float, float]:
    """How far images and logits are from those of the modules that the files came from, in float64."""
    latents = torch.randn(6, LATENT, generator=torch.Generator().manual_seed(1)).double()
    ours = {role: network.double() for role, network in checkpoint.networks.items()}
    flat = any(isinstance(module, nn.Linear) for module in generator.modules())
    images = generator.double()(latents if flat else latents[:, :, None, None]).flatten(1)
    shape = checkpoint.config["data"]["shape"]
    layers = [layer for layer in discriminator.double().modules() if not list(layer.children())]
    takes_rows = isinstance(layers[0], nn.Linear)
    if isinstance(layers[-1], nn.Sigmoid):
        getattr(discriminator, discriminator.name)[-1] = nn.Identity()
    scores = discriminator(images if takes_rows else images.view(-1, *shape)).flatten()
    signed = 2 * images - 1 if isinstance(getattr(generator, generator.name)[-1], nn.Sigmoid) else images
    logits = ours["discriminator"](signed.view(-1, *shape))
    scale = scores.abs().max().clamp(min=1)
    return float((ours["generator"](latents).flatten(1) - signed).abs().max()), float((logits - scores).abs().max() / scale)


def read(files: list[Any], folder: Any, row: Row, **options: Any) -> Any:
    options = ImportOptions.of(**dict(row.options), **options) if (row.options or options) else None
    return import_pair(*files, folder / "pair", dataset="any", options=options, image_size=row.size)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")  # the old one is what is read
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.slow
def test_read_exactly(name, tmp_path):
    row = EXACT[name]
    generator, discriminator, files = written(tmp_path, row)
    assert max(apart(read(files, tmp_path, row), generator, discriminator)) < 1e-4


@pytest.mark.parametrize("name", ASSUMED)
@pytest.mark.slow
def test_read_under_an_assumption_that_an_option_changes(name, tmp_path):
    row, options, named = ASSUMED[name]
    generator, discriminator, files = written(tmp_path, row)
    assumed = read(files, tmp_path, row)
    assert named in assumed.config["training"]["assumed"]
    assert max(apart(assumed, generator, discriminator)) > 1e-3
    assert max(apart(read(files, tmp_path, row, **options), generator, discriminator)) < 1e-4


@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled:UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_remedy(name, tmp_path):
    row, expected = REFUSED[name]
    *_, files = written(tmp_path, row)
    with pytest.raises(CheckpointError, match=expected) as caught:
        read(files, tmp_path, row)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pair").exists()


def test_at_least_forty_layouts():
    assert len(EXACT) + len(ASSUMED) + len(REFUSED) >= 40


def test_padded_digits_are_read_with_the_size_that_is_named(tmp_path):
    generator, discriminator, files = written(tmp_path, Row(padded, padded_discriminator))
    assert "32x32 (--image-size)" in read(files, tmp_path, Row(padded, padded_discriminator)).config["training"]["assumed"]
    checkpoint = read(files, tmp_path, Row(padded, padded_discriminator, size=28))
    assert checkpoint.config["data"]["shape"] == [1, 28, 28]
    assert max(apart(checkpoint, generator, discriminator)) < 1e-4


def test_an_averaged_model_of_torch_is_read(tmp_path):
    generator = lived_in(small_generator(), 1)
    torch.save(AveragedModel(generator).state_dict(), tmp_path / "g.pth")
    discriminator = lived_in(small_discriminator(), 2)
    torch.save(discriminator.state_dict(), tmp_path / "d.pth")
    checkpoint = import_pair(tmp_path / "g.pth", tmp_path / "d.pth", tmp_path / "pair", dataset="any")
    assert max(apart(checkpoint, generator, discriminator)) < 1e-4


def test_what_was_chosen_is_said(tmp_path):
    *_, files = written(tmp_path, EXACT["average preferred"])
    assert "of G, G_ema the average 'G_ema' was taken" in read(files, tmp_path, small()).config["training"]["assumed"]
    *_, files = written(tmp_path, small(together(g="gen", d="critic")))
    critic = read(files, tmp_path, small())
    assert critic.config["discriminator_output"] == "critic"
    assert "calls its discriminator a critic" in critic.config["training"]["assumed"]


def test_a_uniform_prior_and_a_turned_output_are_kept(tmp_path):
    *_, files = written(tmp_path, small())
    config = read(files, tmp_path, small(), prior="uniform", output="inverted").config
    assert config["prior"] == {"name": "uniform", "dim": LATENT}
    assert config["discriminator_output"] == "inverted"


def real_digits(folder, generator: nn.Module, count: int = 150) -> str:
    """Pictures that a generator made: what other options would make is further from them."""
    import numpy as np

    with torch.no_grad():
        images = generator.float()(torch.randn(count, LATENT, generator=torch.Generator().manual_seed(9))).view(-1, 1, 28, 28)
    np.save(folder / "real.npy", images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).numpy())
    return str(folder / "real.npy")


def test_real_images_decide_the_options_and_the_sign(tmp_path, capsys):
    generator, _, files = written(tmp_path, Row(lambda: g_mlp(act=leaky()), d_mlp))
    given = [
        "import",
        *map(str, files),
        "--dataset",
        "digits",
        "--out",
        str(tmp_path / "out"),
        "--data",
        real_digits(tmp_path, generator),
    ]
    codes = {output: main([*given, "--activation", "relu", "--output", output]) for output in ("logit", "inverted")}
    assert sorted(codes.values()) == [0, 2]
    said = capsys.readouterr()
    assert "with --activation leaky they would be at" in said.out
    assert "its sign is turned" in said.err
    assert "import it with --output" in said.err
    assert "next: python -m ebm_refine refine --model" in said.out
    assert "assumed: generator: relu (--activation)" in said.out


def test_an_energy_whose_sign_is_turned_is_found(tmp_path, capsys):
    import numpy as np

    torch.manual_seed(0)
    energy = EnergyCNN(widths=[4, 4])
    torch.save(
        {"layers." + key.partition("layers.")[2]: value for key, value in energy.state_dict().items()}, tmp_path / "e.pth"
    )
    np.save(tmp_path / "real.npy", np.zeros((150, 28, 28), np.uint8))
    given = ["import", str(tmp_path / "e.pth"), "--kind", "energy", "--dataset", "digits", "--data", str(tmp_path / "real.npy")]
    codes = [main([*given, "--output", output, "--out", str(tmp_path / output)]) for output in ("energy", "minus-energy")]
    assert sorted(codes) == [0, 2]
    assert "the sign is turned; give --output" in capsys.readouterr().err
    one, other = (
        import_energy(tmp_path / "e.pth", tmp_path / "x", dataset="d", output=output) for output in ("energy", "minus-energy")
    )
    x = torch.rand(3, 1, 28, 28)
    assert torch.allclose(one.networks["energy"](x), -other.networks["energy"](x))


def test_unknown_options_are_errors(tmp_path, capsys):
    *_, files = written(tmp_path, small())
    for option, value, expected in [
        ("--activation", "mish", "activation must be one of relu, leaky"),
        ("--slope", "2", "slope must be a number from 0 to 1"),
        ("--prior", "cauchy", "prior must be one of normal, uniform"),
        ("--output", "minus-energy", "output must be one of logit, critic"),
        ("--data", str(tmp_path), "no pictures"),
    ]:
        given = ["import", *map(str, files), "--dataset", "x", "--out", str(tmp_path / "out"), option, value]
        assert main(given) == 2
        assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
