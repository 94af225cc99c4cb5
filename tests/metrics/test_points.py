"""Points in the plane: densities against scikit-learn's points, metrics against closed forms, models in closed form."""

import itertools
import json
import math
import shutil

import pytest
import torch
from scipy.stats import chi2
from toy_models import closed_form_folder
from zscores import LIMIT, histogram_score, mean_score, rate_score

from ebm_refine import refine
from ebm_refine.catalogue import load
from ebm_refine.energies.targets import MixtureTarget, target_of
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.metrics import points as metrics
from ebm_refine.toy2d.datasets import BOX, DATASETS, deficient, law, load_points
from ebm_refine.toy2d.landscape import landscape, windows


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_density_is_that_of_the_points(dataset):
    """The mean log density of the loaded points and of the mixture's own agree: two independent samples, one z-score."""
    mixture = law(dataset)
    loaded, own = load_points(dataset, 3000, 1), mixture.sample(3000, 2)
    one, other = mixture.log_density(loaded).double(), mixture.log_density(own).double()
    z = (one.mean() - other.mean()) / ((one.var() + other.var()) / 3000).sqrt()
    assert abs(float(z)) < LIMIT
    assert float(loaded.abs().max()) < BOX


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_density_integrates_to_one(dataset):
    """Over a window of 8 widths about the data's last component, against the mass that lies in it: all of it for a lone one."""
    mixture = law(dataset)
    reach = 8 * mixture.width
    side = torch.arange(-reach, reach, mixture.width / 4, dtype=torch.float64)
    places = torch.cartesian_prod(side, side) + mixture.centres[-1]
    found = float(mixture.log_density(places).exp().sum()) * (mixture.width / 4) ** 2
    inside = mixture.sample(20_000, 3) - mixture.centres[-1]
    share = int((inside.abs() < reach).all(dim=1).sum())
    if len(mixture.centres) == mixture.num_modes:
        assert found == pytest.approx(1 / mixture.num_modes, abs=1e-5)
    assert abs(rate_score(share, 20_000, found)) < LIMIT


def test_scalings_are_the_published_ones():
    assert float(law("grid25").centres.max()) == pytest.approx(4 / 2.828)
    assert law("grid25").width == pytest.approx(0.05 / 2.828)
    assert torch.allclose(law("ring8").centres.norm(dim=1), torch.tensor(2 / 1.414))
    assert law("ring8").width == pytest.approx(0.02 / 1.414)
    assert law("swiss").width == pytest.approx(0.25 / 7.5)
    assert torch.equal(load_points("moons", 50, 3), load_points("moons", 50, 3))
    assert not torch.equal(load_points("moons", 50, 3), load_points("moons", 50, 4))
    with pytest.raises(InputError, match="data set must be one of moons, swiss, grid25, ring8; got 'stars'"):
        load_points("stars", 5)


def test_a_deficient_law_differs_in_its_weights_alone():
    data, own = law("ring8"), deficient("ring8")
    assert torch.equal(own.centres, data.centres)
    assert torch.allclose(own.weights, torch.tensor([1.0, 2, 3, 4, 1, 2, 3, 4]) / 20)


def test_mode_report_counts_what_it_says():
    """Seven points on known places: quality ends at four widths, and what is not finite has none."""
    mixture = law("ring8")
    centre, width = mixture.centres, mixture.width
    aside = torch.tensor([1.0, 0.0])
    points = torch.stack(
        [
            centre[0],
            centre[0] + 3.9 * width * aside,
            centre[1],
            centre[2] + 4.1 * width * aside,
            torch.zeros(2) + centre[3] / 2,
            torch.tensor([math.nan, 0.0]),
            torch.tensor([math.inf, 0.0]),
        ]
    )
    report = metrics.mode_report(points, mixture)
    assert (report.modes, report.recovered, report.high_quality) == (8, 2, 3 / 7)
    assert report.counts == [2, 1, 1, 1, 0, 0, 0, 0]
    expected = 5 / 8
    statistic = sum((count - expected) ** 2 / expected for count in report.counts)
    assert report.p_value == pytest.approx(chi2.sf(statistic, 7))
    assert report.spread == pytest.approx(math.sqrt(3.9**2 / 3 / 2))
    assert metrics.mode_report(points[5:], mixture).p_value is None


def test_the_mixtures_own_points_reach_the_ceiling_and_even_weights():
    mixture, count = law("grid25"), 20_000
    report = metrics.mode_report(mixture.sample(count, 5), mixture)
    ceiling = metrics.quality_ceiling(mixture)
    assert ceiling == pytest.approx(0.99966, abs=1e-5)
    assert abs(rate_score(round(report.high_quality * count), count, ceiling)) < LIMIT
    assert histogram_score(torch.tensor(report.counts), torch.ones(25)) < LIMIT
    assert report.spread == pytest.approx(1.0, abs=0.03)
    assert metrics.mode_report(deficient("grid25").sample(count, 5), mixture).p_value < 1e-100
    assert metrics.quality_ceiling(law("moons")) is None
    assert metrics.mode_report(load_points("swiss", 50, 1), law("swiss")).p_value is None


def test_earth_movers_distance_in_closed_form():
    points = load_points("moons", 60, 1)
    shift = torch.tensor([0.3, -0.4])
    shuffled = points[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    # A shift of all by the same vector is the cheapest way from a set to its shifted self.
    assert metrics.earth_movers_distance(points, shuffled + shift) == pytest.approx(0.5, abs=1e-6)
    assert metrics.earth_movers_distance(points, shuffled) == pytest.approx(0.0, abs=1e-6)
    # Two against two: crossing would cost more.
    one, other = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.1], [0.0, 0.1]])
    assert metrics.earth_movers_distance(one, other) == pytest.approx(0.1)
    assert metrics.earth_movers_distance(points, points * math.nan) == math.inf
    with pytest.raises(ValueError, match="equally many points"):
        metrics.earth_movers_distance(points, points[:5])


def test_the_floor_is_far_below_the_distance_of_other_data():
    floor = metrics.floor("moons", 300, draws=3)
    fresh, others = load_points("moons", 300, 77), load_points("ring8", 300, 77)
    assert floor["mean"] / 2 < metrics.distance_to_data(fresh, "moons") < 2 * floor["mean"]
    assert metrics.distance_to_data(others, "moons") > 3 * floor["mean"]


# --- Models known in closed form --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return closed_form_folder(tmp_path_factory.mktemp("closed"))


@pytest.mark.parametrize("generator", ["exact", "deficient"])
def test_the_energy_is_minus_the_log_density_of_the_data(folder, generator):
    checkpoint = load(folder / f"toy-ring8-{generator}")
    target = target_of(checkpoint, "raw")
    assert isinstance(target, MixtureTarget)
    start = target.init(0, torch.arange(200))
    assert torch.allclose(target.energy(start), -law("ring8").log_density(start), atol=2e-2, rtol=1e-5)
    assert torch.equal(target.decode(start), start)
    # At beta = 0 what is left is the generator's own law.
    alone = target_of(checkpoint, "raw", 0.0)
    assert torch.equal(alone.energy(start), alone.prior_energy(start))


@pytest.mark.parametrize("generator", ["exact", "deficient"])
def test_exact_ratios_have_mean_weight_one_and_their_bound_holds(folder, generator):
    """E_p0[exp r] = 1 over fresh draws of the prior, and no ratio lies above the stored bound."""
    checkpoint = load(folder / f"toy-ring8-{generator}")
    target = target_of(checkpoint, "raw")
    ratio = target.log_ratio(target.init(1, torch.arange(20_000)))
    assert abs(mean_score(ratio.double().exp(), 1.0)) < LIMIT
    assert float(ratio.max()) <= checkpoint.config["defaults"]["rejection"]["log_bound"]


def test_the_prior_is_the_generators_law(folder):
    target = target_of(load(folder / "toy-ring8-deficient"), "raw")
    start = target.init(2, torch.arange(8000))
    counts = torch.tensor(metrics.mode_report(start, law("ring8")).counts)
    assert histogram_score(counts, deficient("ring8").mode_weights) < LIMIT
    assert abs(mean_score((start - target.law.centres[torch.cdist(start, target.law.centres).argmin(1)])[:, 0], 0.0)) < LIMIT


@pytest.mark.slow
def test_langevin_keeps_wrong_weights_and_rejection_and_isir_mend_them(folder):
    """D4: the exact discriminator of a generator with wrong weights. One draw a chain."""
    model, mixture = load(folder / "toy-ring8-deficient"), law("ring8")
    runs = {
        "langevin": refine(model, "langevin", n_steps=30, num_images=1000),
        "rejection": refine(model, "rejection", n_steps=200, num_images=1000),
        "i-sir": refine(model, "i-sir", n_steps=20, num_images=1000, options={"particles": 6}),
    }
    reports = {name: metrics.mode_report(run.after, mixture) for name, run in runs.items()}
    assert all(report.high_quality > 0.995 and report.recovered == 8 for report in reports.values())
    assert reports["langevin"].p_value < 1e-20
    assert reports["rejection"].p_value > 0.01
    assert reports["i-sir"].p_value > 0.01
    assert runs["rejection"].diagnostics["exceedances"] == 0
    assert runs["rejection"].diagnostics["budget_exhausted"] == 0
    # The acceptance rate is 1 / M.
    bound = model.config["defaults"]["rejection"]["log_bound"]
    assert runs["rejection"].diagnostics["acceptance_rate"] == pytest.approx(math.exp(-bound), rel=0.1)


@pytest.mark.slow
def test_proposals_are_told_with_what_became_of_them(folder):
    """Of rejection: NaN once a slot is done, and what was taken is where the slot stays."""
    frames = refine(load(folder / "toy-ring8-deficient"), "rejection", n_steps=30, num_images=200).frames
    assert frames[0].proposals is None
    first, second = frames[1], frames[2]
    assert first.proposals.shape == (200, 2)
    assert torch.equal(first.proposals, frames[0].positions)  # proposal 0 is the start
    assert 0 < int(first.taken.sum()) < 200
    assert torch.equal(second.proposals.isnan().all(dim=1), first.taken)
    assert torch.equal(second.positions[second.taken], second.proposals[second.taken])
    moved = refine(load(folder / "toy-ring8-deficient"), "mala", eps=1e-4, n_steps=5, num_images=200).frames
    for before, after in itertools.pairwise(moved):
        assert torch.equal(after.positions, torch.where(after.taken[:, None], after.proposals, before.positions))
    assert refine(load(folder / "toy-ring8-deficient"), "langevin", n_steps=2, num_images=5).frames[-1].proposals is None


def test_a_mixture_generator_needs_its_own_prior(folder, tmp_path):
    shutil.copytree(folder / "toy-ring8-exact", tmp_path / "wrong")
    file = tmp_path / "wrong" / "config.json"
    config = json.loads(file.read_text())
    config["prior"]["name"] = "normal"
    file.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="prior must be"):
        load(tmp_path / "wrong")


# --- Landscapes -------------------------------------------------------------------------------------------------------------


def test_a_landscape_is_the_energy_and_its_field_minus_the_gradient(folder):
    model = load(folder / "toy-ring8-deficient")
    assert windows(model) == ("data",)
    ground = landscape(model, "data", "raw", resolution=40, arrows=10)
    assert ground.bounds == (-BOX, BOX)
    step = 2 * BOX / 40
    place = torch.tensor([[-BOX + 7.5 * step, -BOX + 2.5 * step]])
    assert float(ground.energy[2, 7]) == pytest.approx(float(-law("ring8").log_density(place)), rel=1e-4)
    coarse = 2 * BOX / 10
    spot = torch.tensor([[-BOX + 3.5 * coarse, -BOX + 8.5 * coarse]], dtype=torch.float64)
    for axis in range(2):
        shift = torch.zeros(1, 2, dtype=torch.float64)
        shift[0, axis] = 1e-4
        slope = float(law("ring8").log_density(spot + shift) - law("ring8").log_density(spot - shift)) / 2e-4
        assert float(ground.field[8, 3, axis]) == pytest.approx(slope, rel=1e-3)
    with pytest.raises(InputError, match="window must be one of data for model 'toy-ring8-deficient'; got 'latent'"):
        landscape(model, "latent", "raw")


def test_a_model_of_images_has_no_landscape(tiny_pair):
    with pytest.raises(InputError, match="does not make points in the plane"):
        windows(load(tiny_pair))
