"""A prepared network computes what the original does, and is sampled as it: values, gradients, and the law of the chains."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from zscores import LIMIT, gaussian_scores

from ebm_refine import load, refine
from ebm_refine.energies.targets import LatentTarget
from ebm_refine.errors import InputError
from ebm_refine.models.fuse import Entry, Head, Stem, prepare
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from ebm_refine.models.networks.energy_cnn import EnergyCNN
from ebm_refine.models.networks.ratio import FeatureRatio, RatioHead, RatioNetwork
from ebm_refine.samplers.base import Kernel
from ebm_refine.samplers.langevin import langevin
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.mala import mala
from ebm_refine.utils import devices
from ebm_refine.utils.devices import check_device, dtype_for


def with_statistics(network: nn.Module) -> nn.Module:
    """Batch norms that have seen something, so that folding has something to fold."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return network.eval()


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (DCGANGenerator(8, (16, 8, 8)), (8,)),
        (DCGANGenerator(8, (16, 8, 8), stem="linear"), (8,)),
        (DCGANDiscriminator((8, 8, 16), norm="batch"), (3, 32, 32)),
        (DCGANDiscriminator((8, 8, 16)), (3, 32, 32)),
    ],
)
def test_values_and_gradients_stay(network, shape):
    network = with_statistics(network)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    prepared = prepare(network)
    inputs = torch.randn(5, *shape, generator=torch.Generator().manual_seed(1))
    results = []
    for one in (network, prepared):
        x = inputs.clone().requires_grad_()
        output = one(x)
        (gradient,) = torch.autograd.grad(output.square().sum(), x)
        results.append((output.detach(), gradient))
    for original, new in zip(*results, strict=True):
        assert torch.allclose(original, new, rtol=1e-4, atol=1e-5 * float(original.abs().max()))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    assert not any(parameter.requires_grad for parameter in prepared.parameters())


def test_norms_behind_convolutions_are_gone_and_others_stay():
    prepared = prepare(with_statistics(DCGANGenerator(8, (16, 8, 8))))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in prepared.modules())
    linear = prepare(with_statistics(DCGANGenerator(8, (16, 8, 8), stem="linear")))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in linear.modules()) == 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_stem_is_the_transposed_convolution_it_was_made_of(shape, bias):
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(6, 5, (4, 3), stride=2, bias=bias)
    latents = torch.randn(3, 6, *shape)
    assert torch.allclose(Stem(layer)(latents), layer(latents), atol=1e-5)


def test_a_stem_has_the_same_bits_at_every_width():
    stem = Stem(nn.ConvTranspose2d(100, 64, 4))
    latents = torch.randn(8, 100, 1, 1, generator=torch.Generator().manual_seed(0))
    for width in (1, 2, 4):
        assert torch.equal(torch.cat([stem(part) for part in latents.split(width)]), stem(latents))


def test_padded_or_grouped_first_layers_stay_as_they_are():
    for layer in (nn.ConvTranspose2d(4, 4, 3, padding=1), nn.ConvTranspose2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 1)):
        assert type(prepare(nn.Sequential(layer, nn.ReLU()))[0]) is type(layer)


# --- bfloat16 ---------------------------------------------------------------------------------------------------------------

FAMILIES: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: DCGANGenerator(8, (16, 8, 8)), (8,)),
    (lambda: DCGANGenerator(8, (16, 8, 8), stem="linear"), (8,)),
    (lambda: DCGANDiscriminator((8, 8, 16), norm="batch"), (3, 32, 32)),
    (lambda: RatioNetwork((4, 8, 8)), (3, 32, 32)),
    (lambda: RatioHead((8, 8, 16)), (3, 32, 32)),
    (lambda: FeatureRatio("resnet-classifier", {"in_channels": 3, "widths": [8, 8, 16], "classes": 10}), (3, 32, 32)),
    (lambda: EnergyCNN((4, 8, 8, 8)), (1, 28, 28)),
]


@pytest.mark.parametrize(("build", "shape"), FAMILIES)
def test_bfloat16_is_inside_only_and_near(build, shape):
    """Float32 in and out; values and gradient within a few roundings of 2^-9, the error of bfloat16, of those in float32.

    Where two pixels are the largest but for rounding, a maximum's gradient goes to either: of a pooling network it is rougher.
    """
    torch.manual_seed(0)
    network = with_statistics(build())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # so that no layer is the zero it begins as
    exact, short = prepare(network), prepare(network, torch.bfloat16)
    kinds = [layer.weight.dtype for layer in short.modules() if isinstance(layer, Stem | nn.Conv2d | nn.ConvTranspose2d)]
    assert torch.bfloat16 in kinds
    inputs = torch.randn(16, *shape, generator=torch.Generator().manual_seed(1))
    results = []
    for one in (exact, short):
        x = inputs.clone().requires_grad_()
        output = one(x)
        assert output.dtype == torch.float32
        (gradient,) = torch.autograd.grad(output.square().sum(), x)
        assert gradient.dtype == torch.float32
        results.append((output.detach(), gradient))
    for first, second, limit in zip(*results, (0.1, 0.4 if isinstance(network, FeatureRatio) else 0.1), strict=True):
        error = float((first - second).norm() / first.norm())
        assert 0 < error < limit


def test_what_takes_in_positions_and_what_gives_energies_keeps_float32():
    for network, last in ((DCGANGenerator(8, (16, 8, 8)), torch.bfloat16), (DCGANDiscriminator((8, 8, 16)), torch.float32)):
        layers = [m for m in prepare(network, torch.bfloat16).modules() if isinstance(getattr(m, "weight", None), Tensor)]
        kinds = [layer.weight.dtype for layer in layers]
        assert kinds == [torch.float32, *[torch.bfloat16] * (len(kinds) - 2), last]


def test_the_first_convolution_sums_in_float32_and_only_its_gradient_is_cast():
    layer = nn.Conv2d(3, 8, 4, 2, 1)
    entry = Entry(layer, torch.bfloat16)
    images, weights = torch.randn(5, 3, 16, 16).requires_grad_(), torch.randn(5, 8, 8, 8).bfloat16()
    wide = layer(images)
    assert torch.equal(entry(images), wide.bfloat16())
    (exact,) = torch.autograd.grad((wide * weights).sum(), images)
    (cast,) = torch.autograd.grad((entry(images) * weights).sum(), images)
    assert cast.dtype == torch.float32
    assert 0 < float((cast - exact).norm() / exact.norm()) < 2**-7


@pytest.mark.parametrize("side", [4, 6])
def test_a_head_is_the_convolution_it_was_made_of(side):
    """Where it fits its input once, and where it passes over it."""
    layer = nn.Conv2d(8, 1, 4)
    maps, weights = torch.randn(5, 8, side, side).requires_grad_(), torch.randn(5, 1, side - 3, side - 3)
    wanted, given = layer(maps), Head(layer)(maps)
    assert torch.equal(given, wanted)
    gradients = [torch.autograd.grad((output * weights).sum(), maps)[0] for output in (wanted, given)]
    torch.testing.assert_close(*gradients)


def scaled(network: nn.Module, gain: float) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            module.weight.data.mul_(gain)
    return network


def target_in(dtype: torch.dtype, chains: int) -> LatentTarget:
    """A random pair whose log ratio varies by about one, as a trained one's does, prepared in `dtype`; one chunk for all."""
    torch.manual_seed(3)
    generator, discriminator = scaled(DCGANGenerator(8, (16, 16, 16)), 2.0), scaled(DCGANDiscriminator((16, 16, 16)), 2.0)
    target = LatentTarget(prepare(with_statistics(generator), dtype), prepare(discriminator, dtype), 8)
    target.chunk = chains
    return target


@pytest.mark.slow
def test_weights_in_bfloat16_and_float32_are_worth_the_same():
    """Over 2,000 samples: sd of the difference of r at most 0.05 nats; reweighting one to the other keeps 99.5 %."""
    exact, short = (target_in(dtype, 2000) for dtype in (torch.float32, torch.bfloat16))
    z = exact.init(0, torch.arange(2000))
    r = exact.log_ratio(z)
    difference = (short.log_ratio(z) - r).double()
    weight = difference.exp()
    assert 0.5 < float(r.std()) < 3
    assert 0 < float(difference.std()) <= 0.05
    assert float(weight.sum().square() / (len(weight) * weight.square().sum())) >= 0.995


@pytest.mark.slow
def test_mala_accepts_as_often_in_bfloat16():
    """The same chains, noise and uniforms: the mean difference of 200 chains' accepted shares within its error, |z| < LIMIT."""
    shares = []
    for dtype in (torch.float32, torch.bfloat16):
        target, index = target_in(dtype, 200), torch.arange(200)
        *_, last = run(mala(target, 0.5), target.init(1, index), 1, index, 10)
        shares.append((last.state.accepted / last.state.proposals).double())
    assert 0.2 < float(shares[0].mean()) < 0.95
    difference = shares[1] - shares[0]
    assert abs(float(difference.mean())) <= LIMIT * max(float(difference.std()) / 200**0.5, 1e-12)


# --- the law: networks whose log ratio is a quadratic in closed form ---------------------------------------------------------


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square()


def quadratic_pair() -> tuple[nn.Module, nn.Module]:
    """A generator that is affine, by layers of every kind that is prepared, and a ratio -sum of squares of its images."""
    torch.manual_seed(5)
    generator = nn.Sequential(
        nn.Unflatten(1, (3, 1, 1)),
        nn.Sequential(nn.ConvTranspose2d(3, 4, 4, bias=False), nn.BatchNorm2d(4)),
        nn.ConvTranspose2d(4, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 2, 3, padding=1),
    )
    squares = nn.Sequential(nn.Conv2d(2, 3, 4, 2, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), Square(), nn.Conv2d(3, 1, 2))
    scaled(generator, 1.0), scaled(squares, 1.0)
    squares[-1].weight.data = -60 * squares[-1].weight.data.abs()
    return with_statistics(generator), nn.Sequential(with_statistics(squares), nn.Flatten(0))


def law_of_quadratic_pair() -> tuple[Tensor, Tensor]:
    """Mean (3,) and precision (3, 3), float64, of exp(-|z|^2 / 2 + r(G(z))), by the derivatives of the unprepared networks."""
    generator, ratio = (network.double() for network in quadratic_pair())

    def energy(z: Tensor) -> Tensor:
        return z.square().sum() / 2 - ratio(generator(z[None])).sum()

    origin = torch.zeros(3, dtype=torch.float64)
    precision = torch.autograd.functional.hessian(energy, origin)
    return torch.linalg.solve(precision, -torch.autograd.functional.jacobian(energy, origin)), precision


FORMS = {"unprepared": None, "float32": torch.float32, "bfloat16": torch.bfloat16}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["langevin", "mala"])
@pytest.mark.slow
def test_the_law_is_the_closed_form_in_every_form(method, form):
    """2,000 chains after 40 steps: mean and second moments as z-scores; langevin's own bias at finite eps is in the law."""
    mean, precision = law_of_quadratic_pair()
    steepest = float(torch.linalg.eigvalsh(precision).max())
    assert 2 < steepest < 8  # the ratio says something
    eps = 1 / steepest
    bias = torch.eye(3) - eps * precision / 4 if method == "langevin" else torch.eye(3, dtype=torch.float64)
    dtype = FORMS[form]
    networks = [network if dtype is None else prepare(network, dtype) for network in quadratic_pair()]
    target = LatentTarget(*networks, 3)
    target.chunk = 2000
    kernel: Kernel = {"langevin": langevin, "mala": mala}[method](target, eps)
    index = torch.arange(2000)
    *_, last = run(kernel, target.init(0, index), 0, index, 40)
    scores = gaussian_scores(last.state.position, mean, torch.linalg.inv(precision @ bias))
    assert max(map(abs, scores.values())) < LIMIT


# --- choosing -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("able", "precision", "dtype"),
    [
        ({}, "auto", torch.float32),
        ({"avx512_bf16": True}, "auto", torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, "auto", torch.bfloat16),
        ({"bf16": True}, "bf16", torch.bfloat16),
        ({"avx512_bf16": True}, "fp32", torch.float32),
    ],
)
def test_the_number_format_follows_from_what_the_processor_has(monkeypatch, able, precision, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert dtype_for(precision, "cpu") == dtype


def test_without_its_convolutions_the_processors_bfloat16_is_not_taken(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True}, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert dtype_for("auto", "cpu") == torch.float32


def test_what_the_machine_lacks_is_refused_in_one_sentence(monkeypatch, tiny_pair):
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for arguments, message in (
        ({"precision": "bf16"}, "precision bf16 needs a device with native bfloat16, which cpu here has not: use fp32 or auto"),
        ({"precision": "fp64"}, "precision must be one of auto, fp32, bf16; got 'fp64'"),
        ({"device": "cuda"}, "device must be one of cpu on this machine; got 'cuda'"),
        ({"device": "tpu"}, "device must be one of cpu on this machine; got 'tpu'"),
    ):
        with pytest.raises(InputError) as raised:
            refine(tiny_pair, n_steps=1, num_images=1, **arguments)
        assert str(raised.value) == message
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [check_device(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]
    with pytest.raises(InputError, match="one of cpu, cuda, cuda:0, cuda:1 on this machine; got 'cuda:2'"):
        check_device("cuda:2")


@pytest.mark.slow
def test_a_run_in_bfloat16_says_so_and_repeats_to_the_bit(monkeypatch, tiny_pair):
    exact = refine(tiny_pair, n_steps=3, num_images=4, precision="fp32")
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: True)
    first, second = (refine(tiny_pair, n_steps=3, num_images=count) for count in (4, 6))
    assert (exact.diagnostics["precision"], first.diagnostics["precision"]) == ("fp32", "bf16")
    assert torch.equal(first.positions, second.positions[:4])
    assert torch.equal(first.after, second.after[:4])
    assert not torch.equal(first.positions, exact.positions)
    assert torch.allclose(first.positions, exact.positions, atol=0.05)
    assert torch.equal(first.decode(first.positions), first.after)
    assert torch.equal(refine(tiny_pair, n_steps=3, num_images=4, precision="fp32").positions, exact.positions)


def test_a_network_without_weights_is_left_alone():
    """Laws in closed form have none; where the processor has bf16 they are narrowed like any other network."""
    generator = load("toy-ring8-deficient").networks["generator"]
    z = torch.randn(5, 2)
    assert torch.equal(prepare(generator, torch.bfloat16)(z), generator(z))
