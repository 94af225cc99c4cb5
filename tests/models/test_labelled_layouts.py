"""Public layouts with residual blocks or labels, with random weights: read exactly, under a printed assumption, or refused."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_convert import lived_in
from test_layouts import LATENT, down, mlp, up
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from ebm_refine import refine
from ebm_refine.cli import main
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models.convert.convert import import_pair
from ebm_refine.models.convert.import_options import ImportOptions

CLASSES = 3


class Wrapped(nn.Module):
    """Spectral norm as mimicry had it: one step of the power iteration from a stored vector in every call."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.padding = getattr(layer, "padding", None)
        self.register_buffer("sn_u", torch.randn(1, len(layer.weight)))
        self.register_buffer("sn_sigma", torch.ones(1))

    def forward(self, given: Tensor) -> Tensor:
        matrix = self.weight.flatten(1)
        v = F.normalize(self.sn_u @ matrix)
        sigma = F.normalize(v @ matrix.T) @ matrix @ v.T
        weight = self.weight / sigma
        return (
            F.linear(given, weight, self.bias) if weight.ndim == 2 else F.conv2d(given, weight, self.bias, padding=self.padding)
        )


def bare(layer: nn.Module) -> nn.Module:
    return layer


class NormByClass(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.bn, self.embed = nn.BatchNorm2d(width, affine=False), nn.Embedding(CLASSES, 2 * width)

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        gain, offset = self.embed(labels)[:, :, None, None].chunk(2, 1)
        return gain * self.bn(maps) + offset


class Up(nn.Module):
    def __init__(self, before: int, after: int, labelled: bool, mode: str):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(before, after, 3, 1, 1), nn.Conv2d(after, after, 3, 1, 1)
        self.b1, self.b2 = (NormByClass(width) if labelled else nn.BatchNorm2d(width) for width in (before, after))
        self.c_sc, self.mode = nn.Conv2d(before, after, 1), mode

    def forward(self, maps: Tensor, *labels: Tensor) -> Tensor:
        def twice(some: Tensor) -> Tensor:
            return F.interpolate(
                some, scale_factor=2, mode=self.mode, **({"align_corners": False} if self.mode != "nearest" else {})
            )

        inner = self.c1(twice(self.b1(maps, *labels).relu()))
        return self.c2(self.b2(inner, *labels).relu()) + self.c_sc(twice(maps))


class ResidualG(nn.Module):
    """Named and wired as mimicry's generators are."""

    def __init__(self, widths: tuple[int, ...], side: int = 4, labelled: bool = False, mode: str = "bilinear"):
        super().__init__()
        self.l1, self.side, self.blocks_ = nn.Linear(LATENT, widths[0] * side**2), side, len(widths) - 1
        for place in range(self.blocks_):
            self.add_module(f"block{place + 2}", Up(widths[place], widths[place + 1], labelled, mode))
        self.add_module(f"b{self.blocks_ + 2}", nn.BatchNorm2d(widths[-1]))
        self.add_module(f"c{self.blocks_ + 2}", nn.Conv2d(widths[-1], 3, 3, 1, 1))

    def forward(self, latents: Tensor, *labels: Tensor) -> Tensor:
        maps = self.l1(latents).view(len(latents), -1, self.side, self.side)
        for place in range(self.blocks_):
            maps = getattr(self, f"block{place + 2}")(maps, *labels)
        number = self.blocks_ + 2
        return getattr(self, f"c{number}")(getattr(self, f"b{number}")(maps).relu()).tanh()


class Down(nn.Module):
    def __init__(self, before: int, after: int, halves: bool, first: bool, wrap: Any):
        super().__init__()
        inner = after if first else before
        self.c1, self.c2 = wrap(nn.Conv2d(before, inner, 3, 1, 1)), wrap(nn.Conv2d(inner, after, 3, 1, 1))
        if before != after or halves:
            self.c_sc = wrap(nn.Conv2d(before, after, 1))
        self.halves, self.first = halves, first

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.c2(self.c1(maps if self.first else maps.relu()).relu())
        around = self.c_sc(maps) if hasattr(self, "c_sc") else maps
        return F.avg_pool2d(inner, 2) + F.avg_pool2d(around, 2) if self.halves else inner + around


class ResidualD(nn.Module):
    def __init__(
        self,
        widths: tuple[int, ...],
        halvings: int,
        wrap: Any = bare,
        mean: bool = False,
        labelled: bool = False,
        second: int = 0,
    ):
        super().__init__()
        self.count, self.mean, self.labelled = len(widths), mean, labelled
        for place, (before, after) in enumerate(zip((3, *widths), widths, strict=False)):
            self.add_module(f"block{place + 1}", Down(before, after, place < halvings, place == 0, wrap))
        self.add_module(f"l{self.count + 1}", wrap(nn.Linear(widths[-1], 1)))
        if labelled:
            self.l_y = nn.Embedding(CLASSES, widths[-1])
        if second:
            self.l_y = wrap(nn.Linear(widths[-1], second))

    def forward(self, images: Tensor, *labels: Tensor) -> Tensor:
        maps = images
        for place in range(self.count):
            maps = getattr(self, f"block{place + 1}")(maps)
        pooled = maps.relu().mean((2, 3)) if self.mean else maps.relu().sum((2, 3))
        score = getattr(self, f"l{self.count + 1}")(pooled)[:, 0]
        return score + (self.l_y(labels[0]) * pooled).sum(1) if self.labelled else score


class Joined(nn.Module):
    """A network whose label joins what it is given: `place` first, last or product; a `channel` of the image's size."""

    def __init__(
        self, network: nn.Module, width: int, place: str, channel: int = 0, name: str = "label_emb", one_hot: bool = False
    ):
        super().__init__()
        self.model, self.place, self.channel, self.name, self.one_hot = network, place, channel, name, one_hot
        if not one_hot:
            self.add_module(name, nn.Embedding(CLASSES, width))

    def forward(self, given: Tensor, labels: Tensor) -> Tensor:
        row = F.one_hot(labels, CLASSES).to(given.dtype) if self.one_hot else getattr(self, self.name)(labels)
        parts = [given, row.view(-1, 1, self.channel, self.channel)] if self.channel else [given.flatten(1), row]
        if self.place == "product":
            joined = given.flatten(1) * row
        else:
            joined = torch.cat(parts if self.place == "last" else parts[::-1], 1)
        shaped = joined[:, :, None, None] if any(isinstance(one, nn.ConvTranspose2d) for one in self.modules()) else joined
        return self.model(shaped)


def joined_mlps(g: str = "first", d: str = "last", **options: Any) -> tuple[nn.Module, nn.Module]:
    width = CLASSES if options.get("one_hot") else 4
    leaky = {"act": lambda: nn.LeakyReLU(0.2)}
    return (
        Joined(mlp(LATENT + width, 16, 24, 784, end=nn.Tanh()), width, g, **options),
        Joined(mlp(784 + width, 16, 12, 1, **leaky), width, d, **options),
    )


def joined_dcgans(g: str = "last", width: int = 5) -> tuple[nn.Module, nn.Module]:
    taken = LATENT if g == "product" else LATENT + width
    layers = [*up(taken, 32, 4, 1, 0), *up(32, 16), *up(16, 8), nn.ConvTranspose2d(8, 1, 4, 2, 1, bias=False), nn.Tanh()]
    body = [*down(2, 4, False), *down(4, 8), *down(8, 16), nn.Conv2d(16, 1, 4, bias=False)]
    return (
        Joined(nn.Sequential(*layers), LATENT if g == "product" else width, g, name="embed"),
        Joined(nn.Sequential(*body), 32 * 32, "last", channel=32, name="embed"),
    )


S32, S64 = (16, 16, 16, 16), (32, 16, 8, 4, 4)
WIDTHS_D32, WIDTHS_D48 = (8, 8, 8, 8), (4, 8, 16, 32, 64)
# name: (generator, discriminator, options that read it rightly, the option that the assumption names; "" where none is needed)
RESIDUAL = {
    "SNGAN 32": (lambda: ResidualG(S32), lambda: ResidualD(WIDTHS_D32, 2, Wrapped), {}, ""),
    "SNGAN 48": (lambda: ResidualG((32, 16, 8, 4), side=6), lambda: ResidualD(WIDTHS_D48, 4, Wrapped), {}, ""),
    "SNGAN 64": (lambda: ResidualG(S64), lambda: ResidualD(WIDTHS_D48, 5, Wrapped), {}, ""),
    "SNGAN 128": (
        lambda: ResidualG((16, 16, 8, 4, 4, 2)), lambda: ResidualD((2, 4, 8, 16, 32, 32), 5, Wrapped), {}, ""
    ),
    "torch's spectral norm": (lambda: ResidualG(S32), lambda: ResidualD(WIDTHS_D32, 2, spectral_norm), {}, ""),
    "ResNet DCGAN": (lambda: ResidualG(S32), lambda: ResidualD(WIDTHS_D32, 2), {}, ""),
    "SSGAN": (lambda: ResidualG(S32), lambda: ResidualD(WIDTHS_D32, 2, Wrapped, second=4), {}, ""),
    "cGAN-PD": (lambda: ResidualG(S32, labelled=True), lambda: ResidualD(WIDTHS_D32, 2, Wrapped, labelled=True), {}, ""),
    "WGAN-GP": (
        lambda: ResidualG(S32), lambda: ResidualD(WIDTHS_D32, 2, mean=True), {"d_pooling": "mean"}, "--d-pooling"
    ),
    "nearest neighbours": (
        lambda: ResidualG(S32, mode="nearest"), lambda: ResidualD(WIDTHS_D32, 2), {"upsampling": "nearest"}, "--upsampling"
    ),
    "fewer halvings": (lambda: ResidualG(S64), lambda: ResidualD(WIDTHS_D48, 4), {"halvings": 4}, "--halvings"),
}  # fmt: skip
LABELLED = {
    "PyTorch-GAN cgan": (*(lambda k=k: joined_mlps()[k] for k in (0, 1)), {}, ""),
    "perceptrons, label last": (*(lambda k=k: joined_mlps(g="last")[k] for k in (0, 1)), {"g_labels": "last"}, "--g-labels"),
    "perceptrons, label before the image": (
        *(lambda k=k: joined_mlps(d="first")[k] for k in (0, 1)), {"d_labels": "first"}, "--d-labels"
    ),
    "one-hot perceptrons": (
        *(lambda k=k: joined_mlps(one_hot=True)[k] for k in (0, 1)), {"classes": CLASSES}, None
    ),
    "conditional DCGAN": (*(lambda k=k: joined_dcgans()[k] for k in (0, 1)), {}, ""),
    "conditional DCGAN, label first": (
        *(lambda k=k: joined_dcgans("first")[k] for k in (0, 1)), {"g_labels": "first"}, "--g-labels"
    ),
    "latent times label": (*(lambda k=k: joined_dcgans("product")[k] for k in (0, 1)), {}, ""),
    "a discriminator without labels": (
        lambda: joined_mlps()[0], lambda: mlp(784, 16, 12, 1, act=lambda: nn.LeakyReLU(0.2)), {}, ""
    ),
}  # fmt: skip
ROWS = {**RESIDUAL, **LABELLED}


def written(folder: Any, name: str) -> tuple[nn.Module, nn.Module, list[Any]]:
    make_g, make_d, *_ = ROWS[name]
    torch.manual_seed(3)
    generator, discriminator = lived_in(make_g(), 1), lived_in(make_d(), 2)
    files = [folder / "g.pth", folder / "d.pth"]
    for network, file in zip((generator, discriminator), files, strict=True):
        torch.save({"model_state_dict": network.state_dict(), "optimizer_state_dict": {"state": {}}, "global_step": 7}, file)
    return generator, discriminator, files


@torch.no_grad()
def apart(checkpoint: Any, generator: nn.Module, discriminator: nn.Module) -> float:
    """How far images and scores are from those of the modules that the files came from."""
    latents = torch.randn(6, LATENT, generator=torch.Generator().manual_seed(1)).double()
    labels = torch.arange(6) % CLASSES
    ours = {role: network.double() for role, network in checkpoint.networks.items()}

    def called(network: nn.Module, given: Tensor) -> Tensor:
        takes = isinstance(network, Joined) or any(isinstance(part, NormByClass) for part in network.modules())
        takes |= getattr(network, "takes_labels", False) or getattr(network, "labelled", False)
        return network(given, *((labels,) if takes else ()))

    made = called(ours["generator"], latents)
    theirs = called(generator.double(), latents).view(made.shape)
    rows = isinstance(getattr(discriminator, "main", [None])[0], nn.Linear)
    scores = called(discriminator.double(), theirs.flatten(1) if rows else theirs).flatten()
    judged = called(ours["discriminator"], theirs)
    return float(max((made - theirs).abs().max(), (judged - scores).abs().max() / scores.abs().max().clamp(min=1)))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.slow
def test_read_exactly_or_under_an_assumption_that_an_option_changes(name, tmp_path):
    generator, discriminator, files = written(tmp_path, name)
    options, named = ROWS[name][2:]
    if named:
        assumed = import_pair(*files, tmp_path / "assumed", dataset="any")
        assert named in assumed.config["training"]["assumed"]
        assert apart(assumed, generator, discriminator) > 1e-3
    elif named is None:
        with pytest.raises(CheckpointError, match=r"787 numbers are no square image.*ebm_refine\.pair"):
            import_pair(*files, tmp_path / "assumed", dataset="any")
    options = ImportOptions.of(**options) if options else None
    checkpoint = import_pair(*files, tmp_path / "pair", dataset="any", options=options)
    assert apart(checkpoint, generator, discriminator) < 1e-4
    conditional = isinstance(generator, Joined) or name == "cGAN-PD"
    assert checkpoint.config.get("labels") == ({"count": CLASSES} if conditional else None)


@pytest.mark.parametrize("name", ["cGAN-PD", "PyTorch-GAN cgan"])
@pytest.mark.slow
def test_an_imported_conditional_pair_is_refined_class_by_class(name, tmp_path):
    *_, files = written(tmp_path, name)
    checkpoint = import_pair(*files, tmp_path / "pair", dataset="any")
    result = refine(checkpoint, "langevin", n_steps=1, num_images=4, label=2, eps=0.01)
    assert result.labels.tolist() == [2, 2, 2, 2]
    assert result.after.shape[1:] == tuple(checkpoint.config["data"]["shape"])


def changed(state: dict[str, Tensor], **more: Tensor) -> dict[str, Tensor]:
    return {**state, **{key.replace("__", "."): value for key, value in more.items()}}


def test_what_no_family_has_is_refused_with_the_remedy(tmp_path):
    _, discriminator, files = written(tmp_path, "SNGAN 32")
    torch.save(changed(discriminator.state_dict(), attn__theta__weight=torch.zeros(1, 8, 1, 1)), files[1])
    with pytest.raises(CheckpointError, match=r"attn\.theta\.weight.*SNGAN family.*ebm_refine\.pair"):
        import_pair(*files, tmp_path / "pair", dataset="any")
    torch.save(discriminator.state_dict(), files[1])
    with pytest.raises(CheckpointError, match="contradicts that the first 3 blocks halve; see --halvings"):
        import_pair(*files, tmp_path / "pair", dataset="any", options=ImportOptions.of(halvings=3))
    with pytest.raises(InputError, match="--activation does not apply"):
        import_pair(*files, tmp_path / "pair", dataset="any", options=ImportOptions.of(activation="leaky"))
    torch.save(joined_mlps()[0].state_dict(), files[0])
    with pytest.raises(CheckpointError, match=r"ebm_refine\.pair"):
        import_pair(*files, tmp_path / "pair", dataset="any")
    assert not (tmp_path / "pair").exists()


def test_upsampling_generators_of_pytorch_gan_are_refused_with_the_remedy(tmp_path):
    doubling = [nn.Upsample(scale_factor=2), nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8, 0.8), nn.LeakyReLU(0.2)]
    generator = nn.Sequential(
        nn.Linear(LATENT, 8 * 49), nn.Unflatten(1, (8, 7, 7)), nn.BatchNorm2d(8), *doubling, nn.Conv2d(8, 1, 3, 1, 1), nn.Tanh()
    )
    torch.save(generator.state_dict(), tmp_path / "g.pth")
    torch.save(mlp(784, 16, 1, act=nn.ReLU).state_dict(), tmp_path / "d.pth")
    with pytest.raises(CheckpointError, match=r"ebm_refine\.pair\(generator, discriminator, latent=…\)") as caught:
        import_pair(tmp_path / "g.pth", tmp_path / "d.pth", tmp_path / "pair", dataset="any")
    assert "\n" not in str(caught.value)


def test_options_of_residual_networks_are_refused_for_others(tmp_path):
    *_, files = written(tmp_path, "conditional DCGAN")
    with pytest.raises(InputError, match="--upsampling is for residual networks"):
        import_pair(*files, tmp_path / "pair", dataset="any", options=ImportOptions.of(upsampling="nearest"))


def test_the_command_line_says_what_was_assumed(tmp_path, capsys):
    *_, files = written(tmp_path, "one-hot perceptrons")
    given = ["import", *map(str, files), "--dataset", "digits", "--out", str(tmp_path / "out")]
    assert main(given) == 2
    assert "ebm_refine.pair" in capsys.readouterr().err
    assert main([*given, "--classes", str(CLASSES), "--g-labels", "last"]) == 0
    assert "assumed: generator: the row of the class stands last, beside a latent of 10 (--g-labels)" in capsys.readouterr().out
    assert main([*given, "--classes", "1"]) == 2
    assert "classes must be a whole number from 2" in capsys.readouterr().err
