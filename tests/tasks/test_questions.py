"""What an energy can answer: conditional laws, labels, rows of labels, comparison and detection, all against closed forms."""

import math
from collections import deque

import pytest
import torch
from scipy import stats
from torch import Tensor
from zscores import LIMIT, gaussian_scores, histogram_score

from ebm_refine.errors import InputError
from ebm_refine.samplers.langevin import langevin
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.mala import mala
from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.samplers.short_run import short_run
from ebm_refine.tasks import classification as labels
from ebm_refine.tasks import masks, row_decoding
from ebm_refine.tasks import ood_detection as detection
from ebm_refine.tasks import ranking as comparing
from ebm_refine.tasks import synthetic_digits as patterns
from ebm_refine.tasks.conditional import Completion, Denoising, add_noise
from ebm_refine.tasks.reflection import Reflected

SHAPE = (1, 2, 3)
CHAINS = 4000


class Gaussian:
    """N(centre, precision^-1) of images of SHAPE, flattened: six correlated pixels."""

    shape, bounds = SHAPE, (-1.0, 1.0)

    def __init__(self):
        generator = torch.Generator().manual_seed(5)
        root = torch.randn(6, 6, generator=generator)
        self.precision = torch.eye(6) + 0.3 * root @ root.T
        self.centre = torch.randn(6, generator=generator)

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        return draws.normal(SHAPE, stream)

    def energy(self, position: Tensor) -> Tensor:
        return self.energy_and_grad(position)[0]

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        offset = position.flatten(1) - self.centre
        grad = offset @ self.precision
        return (offset * grad).sum(dim=1) / 2, grad.reshape(position.shape)


GAUSSIAN = Gaussian()
IMAGE = torch.tensor([0.4, -0.9, 0.1, 0.7, -0.2, 0.3]).reshape(SHAPE)
MISSING = torch.tensor([True, False, True, False, False, True]).reshape(SHAPE)


def last(kernel, position: Tensor, n_steps: int) -> Tensor:
    index = torch.arange(len(position))
    (final,) = deque(run(kernel, position, 11, index, n_steps), maxlen=1)
    return final.state.position


def begun(law, count: int = CHAINS) -> Tensor:
    return law.start(Draws(11, torch.arange(count), 0), Stream.INIT)


def langevin_law(precision: Tensor, eps: float, temperature: float = 1.0) -> Tensor:
    """The stationary covariance of unadjusted Langevin, its bias included."""
    return temperature * torch.linalg.inv(precision @ (torch.eye(len(precision)) - eps / 4 * precision)).double()


def assert_gaussian(sample: Tensor, mean: Tensor, covariance: Tensor) -> None:
    scores = gaussian_scores(sample, mean.double(), covariance.double())
    assert all(abs(score) < LIMIT for score in scores.values()), scores


# --- Conditional laws ------------------------------------------------------------------------------------------------------


def conditional_law() -> tuple[Tensor, Tensor]:
    """Mean and precision of the missing pixels given the seen ones."""
    missing, seen = MISSING.flatten(), ~MISSING.flatten()
    precision = GAUSSIAN.precision[missing][:, missing]
    pull = GAUSSIAN.precision[missing][:, seen] @ (IMAGE.flatten() - GAUSSIAN.centre)[seen]
    return GAUSSIAN.centre[missing] - torch.linalg.solve(precision, pull), precision


def test_missing_pixels_follow_the_conditional_law():
    law, (mean, precision) = Completion(GAUSSIAN, IMAGE, MISSING), conditional_law()
    eps = 0.8 / float(torch.linalg.eigvalsh(precision)[-1])
    assert_gaussian(last(langevin(law, eps), begun(law), 60), mean, langevin_law(precision, eps))
    assert_gaussian(last(mala(law, eps), begun(law), 40), mean, torch.linalg.inv(precision))


@pytest.mark.parametrize(
    "kernel_of",
    [
        lambda law: langevin(law, 0.1),
        lambda law: mala(Reflected(law), 0.1),
        lambda law: short_run(law, 20.0, 1.25e-6, 0.03),
    ],
)
def test_seen_pixels_are_untouched_to_the_bit_and_the_others_move(kernel_of):
    law = Completion(GAUSSIAN, IMAGE, MISSING)
    start = begun(law, 50)
    images = law.whole(last(kernel_of(law), start, 20))
    assert torch.equal(images[:, ~MISSING], IMAGE[~MISSING].expand(50, -1))
    assert (images[:, MISSING] != start).all()


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        (torch.zeros(SHAPE, dtype=torch.bool), "the mask covers nothing: at least one pixel must be missing"),
        (torch.ones(SHAPE, dtype=torch.bool), "the mask covers everything: at least one of the 6 pixels must stay seen"),
    ],
)
def test_masks_of_nothing_or_everything_are_refused(missing, sentence):
    with pytest.raises(InputError) as error:
        Completion(GAUSSIAN, IMAGE, missing)
    assert str(error.value) == sentence


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_denoising_follows_the_posterior(temperature):
    sigma, eps = 0.6, 0.15
    law = Denoising(GAUSSIAN, IMAGE, sigma, temperature)
    # exp(-E / T) N(noisy; x, sigma^2): the clean images' precision is divided by T, that of the noise is not.
    precision = GAUSSIAN.precision / temperature + torch.eye(6) / sigma**2
    pull = GAUSSIAN.precision @ GAUSSIAN.centre / temperature + IMAGE.flatten() / sigma**2
    sample = last(langevin(law, eps, temperature), begun(law), 80).flatten(1)
    covariance = langevin_law(temperature * precision, eps, temperature)
    assert_gaussian(sample, torch.linalg.solve(precision, pull), covariance)


def test_noise_is_of_its_width_within_the_range_and_the_same_again():
    noisy = add_noise(torch.zeros(1, 100, 100), 0.2, 3, (-1.0, 1.0))
    assert abs(float(noisy.square().mean() / 0.04 - 1)) * math.sqrt(10_000 / 2) < LIMIT
    assert torch.equal(noisy, add_noise(torch.zeros(1, 100, 100), 0.2, 3, (-1.0, 1.0)))
    assert float(add_noise(torch.zeros(1, 100, 100), 5.0, 3, (-1.0, 1.0)).abs().max()) == 1.0


# --- The box ---------------------------------------------------------------------------------------------------------------


class Slope:
    """E(x) = slope * x on [-1, 2]: a truncated exponential law."""

    shape, bounds = (1,), (-1.0, 2.0)

    def __init__(self, slope: float):
        self.slope = slope

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        return 3 * draws.uniform((1,), stream) - 1

    def energy(self, position: Tensor) -> Tensor:
        return self.slope * position[:, 0]

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        return self.energy(position), torch.full_like(position, self.slope)


def box_score(sample: Tensor, slope: float) -> float:
    """z of 12 equal bins of the box against exp(-slope x)."""
    edges = torch.linspace(-1, 2, 13, dtype=torch.float64)
    below = torch.exp(-slope * edges) if slope else -edges
    counts = torch.histc(sample.flatten(), 12, -1, 2)
    assert counts.sum() == len(sample)
    return histogram_score(counts, (below[:-1] - below[1:]))


def test_metropolis_in_the_box_has_the_restricted_law_and_walls_that_clamp_do_not():
    law = Reflected(Slope(1.5))
    sample = law.fold(last(mala(law, 1.5), begun(law, 4000), 40))
    assert abs(box_score(sample, 1.5)) < LIMIT
    assert box_score(last(mala(Slope(1.5), 1.5), begun(law, 4000), 40).clamp(-1, 2), 1.5) > 30


def test_langevin_in_a_flat_box_is_uniform():
    law = Reflected(Slope(0.0))
    assert abs(box_score(law.fold(last(langevin(law, 4.0), begun(law, 4000), 30)), 0.0)) < LIMIT


def test_folding_is_mirror_images_and_the_gradient_that_of_the_folded_energy():
    law = Reflected(Slope(1.0))
    for start, home in ((0.3, 0.3), (2.0, 2.0), (-1.0, -1.0), (2.5, 1.5), (-1.25, -0.75), (5.5, -0.5), (-4.5, 1.5), (8.5, 1.5)):
        assert float(law.fold(torch.tensor([[start]]))) == pytest.approx(home, abs=1e-6)
    position = torch.linspace(-7.3, 8.1, 50, dtype=torch.float64)[:, None]
    energy, grad = law.energy_and_grad(position)
    assert torch.allclose((law.energy(position + 1e-6) - energy) / 1e-6, grad[:, 0], atol=1e-6)


# --- Labels ----------------------------------------------------------------------------------------------------------------


def test_labels_of_a_mixture_have_its_posterior():
    """E(x, y) = -log N(x; c_y, 1) p(y): p(y | x) is Bayes' rule, and exp(-E(x)) the mixture's density."""
    centres, weights = torch.tensor([-1.0, 0.5, 3.0]), torch.tensor([0.5, 0.2, 0.3])
    x = torch.linspace(-3, 4, 9)
    joint = torch.distributions.Normal(centres, 1.0).log_prob(x[:, None]) + weights.log()
    energies = labels.energies_of(joint)
    density = (joint.exp()).sum(dim=1)
    assert torch.allclose(labels.marginal_energy(energies), -density.log(), atol=1e-6)
    assert torch.allclose(labels.conditional_log_probability(energies).exp(), joint.exp() / density[:, None], atol=1e-6)
    sharper = joint.exp() ** 2.5
    assert torch.allclose(
        labels.conditional_log_probability(energies, 2.5).exp(), sharper / sharper.sum(dim=1, keepdim=True), atol=1e-6
    )
    assert torch.allclose(labels.conditional_log_probability(energies, 0.0).exp(), torch.full((9, 3), 1 / 3))
    assert torch.equal(labels.decide(energies), joint.argmax(dim=1))


# --- Rows of labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("each_pair", [False, True])
def test_min_sum_is_the_minimum_over_all_rows(count, each_pair):
    generator = torch.Generator().manual_seed(count)
    for _ in range(20):
        unary = torch.randn(count, 4, generator=generator)
        pairwise = torch.randn(*([count - 1] if each_pair else []), 4, 4, generator=generator)
        found, every = row_decoding.min_sum(unary, pairwise), row_decoding.by_enumeration(unary, pairwise)
        assert torch.equal(found.labels, every.labels)
        assert found.energy == pytest.approx(every.energy, abs=1e-9)
        assert row_decoding.energy_of(found.labels, unary, pairwise) == pytest.approx(found.energy, abs=1e-9)


def test_rules_hold_where_energies_forbid_and_long_rows_take_no_time():
    generator = torch.Generator().manual_seed(0)
    unary = torch.randn(300, 10, generator=generator)
    free = row_decoding.min_sum(unary, torch.zeros(10, 10))
    assert torch.equal(free.labels, unary.argmin(dim=1))
    rising = torch.full((10, 10), math.inf).masked_fill(torch.ones(10, 10).triu() > 0, 0.0)
    assert (row_decoding.min_sum(unary, rising).labels.diff() >= 0).all()
    alike = row_decoding.min_sum(unary, 1e6 * (1 - torch.eye(10)))
    assert alike.labels.unique().tolist() == [int(unary.double().sum(dim=0).argmin())]


# --- Comparing -------------------------------------------------------------------------------------------------------------


def test_ratios_need_no_partition_function():
    points = torch.tensor([0.0, 2.0, -1.5, 2.0])
    truth = torch.distributions.Normal(0.5, 2.0).log_prob(points)
    energies = (points - 0.5).square() / 8 + 123.0  # an energy without its log Z, shifted at will
    assert torch.allclose(comparing.log_density_ratio(energies, energies[1]), truth - truth[1], atol=1e-4)
    assert comparing.ranked(energies).tolist() == [0, 1, 3, 2]


# --- Detection -------------------------------------------------------------------------------------------------------------


def auroc_law(shift: float, count: int, others: int) -> tuple[float, float]:
    """Mean and standard deviation of the area between N(0, 1) and N(shift, 1) (Hanley and McNeil 1982), exactly."""
    edge = shift / math.sqrt(2)
    area = float(stats.norm.cdf(edge))
    both = float(stats.multivariate_normal.cdf([edge, edge], cov=[[1, 0.5], [0.5, 1]]))
    variance = (area * (1 - area) + (count + others - 2) * (both - area**2)) / (count * others)
    return area, math.sqrt(variance)


@pytest.mark.parametrize("shift", [0.0, 0.7, -1.5])
def test_auroc_of_two_normal_laws(shift):
    generator = torch.Generator().manual_seed(1)
    inside, outside = torch.randn(3000, generator=generator), shift + torch.randn(2000, generator=generator)
    mean, deviation = auroc_law(shift, 3000, 2000)
    assert abs(detection.auroc(inside, outside) - mean) / deviation < LIMIT


def test_ties_count_half_and_separation_is_one():
    assert detection.auroc(torch.zeros(3), torch.zeros(5)) == 0.5
    assert detection.auroc(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])) == 1.0
    assert detection.auroc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 0.0


def test_detection_by_the_number_of_light_pixels():
    """With E(x) = sum of x every set has a known place: digits are dark, their negatives light, a mirror changes nothing."""
    digits = patterns.written([*range(10)] * 5, 28)
    energies = detection.energies_of_sets(lambda images: images.flatten(1).sum(dim=1), digits)
    assert list(energies) == ["digits", "uniform noise", "inverted", "mirrored", "blurred", "clothes"]
    areas = detection.aurocs(energies)
    assert areas["inverted"] == areas["uniform noise"] == 1.0
    assert areas["mirrored"] == pytest.approx(0.5, abs=0.01)  # rounding of the sums alone
    assert torch.equal(energies["inverted"], -energies["digits"])
    noise = energies["uniform noise"]
    assert abs(float(noise.mean())) / math.sqrt(784 / 3 / 50) < LIMIT
    shares = detection.histogram(energies, bins=7).shares
    assert all(float(one.sum()) == pytest.approx(1.0) for one in shares.values())
    assert detection.share_above(torch.tensor([1.0, 2.0, 3.0, 4.0]), 3.0) == 0.5


def test_histogram_of_equal_energies_has_bins():
    found = detection.histogram({"digits": torch.ones(4)}, bins=3)
    assert found.shares["digits"].tolist() == [1.0, 0.0, 0.0]


# --- Pictures made in code -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda count: patterns.uniform_noise(count, (1, 28, 28), 4),
        lambda count: patterns.clothes(count, 28, 4),
        lambda count: patterns.written([number % 10 for number in range(count)], 28, 4),
    ],
)
def test_picture_i_depends_on_seed_and_i_alone(make):
    few, many = make(3), make(12)
    assert many.shape == (12, 1, 28, 28)
    assert many.dtype == torch.float32
    assert torch.equal(few, many[:3])
    assert many.abs().max() <= 1
    assert len({tuple(one.flatten().tolist()) for one in many}) == 12


def test_mirror_negative_and_blur():
    digits = patterns.written([2, 7], 28)
    assert torch.equal(patterns.mirrored(patterns.mirrored(digits)), digits)
    assert torch.equal(patterns.mirrored(digits)[..., 0], digits[..., 27])
    assert torch.equal(patterns.inverted(digits), -digits)
    point = torch.zeros(1, 1, 28, 28)
    point[0, 0, 14, 14] = 1.0
    smooth = patterns.blurred(point, 1.5)[0, 0].double()
    offsets = torch.arange(28).double() - 14
    assert float(smooth.sum()) == pytest.approx(1.0, abs=1e-6)
    assert float((smooth.sum(dim=0) * offsets.square()).sum()) == pytest.approx(1.5**2, rel=0.03)


# --- Masks and rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", masks.NAMES)
def test_masks_cover_their_share(name):
    missing = masks.mask(name, 0.5, 28, seed=3)
    assert missing.shape == (1, 28, 28)
    assert float(missing.float().mean()) == pytest.approx(0.5, abs=0.03)
    assert not masks.mask(name, 0.0, 28).any()
    assert masks.mask(name, 1.0, 28).all()
    assert masks.mask("scattered", 0.5, 28, 3).equal(masks.mask("scattered", 0.5, 28, 3))
    assert not masks.mask("scattered", 0.5, 28, 3).equal(masks.mask("scattered", 0.5, 28, 4))


def test_masks_hide_the_side_that_they_say():
    corner = {"right": (0, 27), "left": (0, 0), "top": (0, 27), "bottom": (27, 0), "middle": (14, 14)}
    for name, (row, column) in corner.items():
        missing = masks.mask(name, 0.25, 28)[0]
        assert missing[row, column]
        assert not missing[27 - row, 27 - column] or name == "middle"
    assert torch.equal(masks.mask_from_rows([[0, 1], [True, False]], 2), torch.tensor([[[False, True], [True, False]]]))


@pytest.mark.parametrize(
    "rows", ["half", None, 3, [1, 2], [[0, 1]], [[0], [1, 0]], [[0, 2], [0, 0]], [[0, "1"], [0, 0]], [[0, 0.5], [0, 0]]]
)
def test_bad_masks_get_one_sentence(rows):
    with pytest.raises(InputError, match=r"mask must be one of right, left, .* or 2 rows of 2 numbers 0 or 1; "):
        masks.mask_from_rows(rows, 2)


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        ("none", [3, 3, 1], None),
        ("never falls", [1, 1, 4], [2, 1]),
        ("counts up by one", [7, 8, 9], [9, 0]),
        ("neighbours differ", [1, 0, 1], [5, 5]),
        ("even and odd in turn", [4, 1, 8], [3, 7]),
    ],
)
def test_rules_cost_their_weight_where_they_are_broken(rule, kept, broken):
    pairwise = row_decoding.pairwise_energy(rule, 2.5)
    assert pairwise.shape == (10, 10)
    assert row_decoding.energy_of(torch.tensor(kept), torch.zeros(3, 10), pairwise) == 0
    if broken:
        assert row_decoding.energy_of(torch.tensor(broken), torch.zeros(2, 10), pairwise) == 2.5
