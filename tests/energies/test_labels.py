"""Labels travel with their chains, and uniform latents have the law that they should."""

import math

import pytest
import torch
from torch import Tensor, nn

import ebm_refine
from ebm_refine.energies.labels import check_label, joined_summaries, labels_of
from ebm_refine.energies.priors import uniform_latents
from ebm_refine.energies.targets import target_of
from ebm_refine.errors import InputError
from ebm_refine.evaluation.best_of import best_of
from ebm_refine.models.checkpoint import Checkpoint

COUNT = 3
SHIFT = torch.tensor([-2.0, 0.0, 2.0])


class Shifted(nn.Module):
    """G(z, y) = z + shift of y in every coordinate."""

    takes_labels = True

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return latents + SHIFT[labels][:, None]


class Slope(nn.Module):
    """r(x, y) = slope of y times the first coordinate."""

    takes_labels = True

    def forward(self, points: Tensor, labels: Tensor) -> Tensor:
        return (labels - 1.0) * points[:, 0]


class Tilt(nn.Module):
    def __init__(self, slope: float):
        super().__init__()
        self.slope = slope

    def forward(self, points: Tensor) -> Tensor:
        return self.slope * points[:, 0]


def model(generator: nn.Module, discriminator: nn.Module, prior: str = "normal", labels: dict | None = None) -> Checkpoint:
    parts = {role: {"architecture": "toy", "sha256": "0"} for role in ("generator", "discriminator")}
    config = {
        "kind": "points",
        "prior": {"name": prior, "dim": 2},
        "data": {"shape": [2], "range": [-4, 4], "dataset": "toy"},
        "parts": parts,
        **({"labels": labels} if labels else {}),
    }
    return Checkpoint("toy", None, config, {"generator": generator, "discriminator": discriminator})


def conditional(**labels) -> Checkpoint:
    return model(Shifted(), Slope(), labels={"count": COUNT, **labels})


def test_labels_depend_on_seed_and_number_alone_and_have_their_probabilities():
    config = {"labels": {"count": 3, "probabilities": [0.2, 0.5, 0.3]}}
    index = torch.arange(20_000)
    labels = labels_of(config, 5, index)
    shares = labels.bincount(minlength=3) / len(index)
    error = (torch.tensor([0.2, 0.5, 0.3]) * torch.tensor([0.8, 0.5, 0.7]) / len(index)).sqrt()
    assert ((shares - torch.tensor([0.2, 0.5, 0.3])) / error).abs().max() < 4
    assert torch.equal(labels_of(config, 5, index[700:900]), labels[700:900])
    assert not torch.equal(labels_of(config, 6, index), labels)
    assert labels_of({}, 5, index) is None


def test_labels_that_a_model_lacks_are_refused():
    with pytest.raises(InputError, match="from 0 to 2; got 3"):
        check_label("m", {"labels": {"count": 3}}, 3)
    with pytest.raises(InputError, match="has no classes"):
        check_label("m", {}, 0)
    with pytest.raises(InputError, match="class by class"):
        target_of(conditional(), "raw")


METHODS = ("langevin", "mala", "hmc", "mh-gan", "rejection", "i-sir", "ex2mcmc", "tempering", "smc", "dot", "elliptical-slice")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.slow
def test_each_chain_of_a_conditional_model_keeps_its_label(method):
    result = ebm_refine.refine(conditional(), method, n_steps=6, num_images=30, seed=1)
    assert result.labels.tolist() == labels_of({"labels": {"count": 3}}, 1, torch.arange(30)).tolist()
    assert len(set(result.labels.tolist())) == 3
    # G is a shift, so the samples tell the label that they were made with.
    assert torch.allclose(result.after, result.positions + SHIFT[result.labels][:, None])
    ratio = (result.labels - 1.0) * result.after[:, 0]
    assert torch.allclose(result.ratio_after, ratio, atol=1e-5)
    assert torch.equal(result.decode(result.frames[-1].positions), result.after)


def test_a_chain_of_a_conditional_model_does_not_depend_on_its_neighbours():
    whole = ebm_refine.refine(conditional(), "mala", n_steps=5, num_images=20, seed=3)
    fewer = ebm_refine.refine(conditional(), "mala", n_steps=5, num_images=7, seed=3)
    assert torch.equal(whole.after[:7], fewer.after)


def test_one_label_for_all_is_asked_by_number_and_travels_with_the_settings():
    result = ebm_refine.refine(conditional(), "langevin", n_steps=3, num_images=5, label=2)
    assert result.labels.tolist() == [2] * 5
    assert result.settings.as_dict()["label"] == 2
    again = ebm_refine.refine(
        conditional(), **{key: value for key, value in result.settings.as_dict().items() if key != "model"}
    )
    assert torch.equal(again.after, result.after)


def test_counts_add_up_over_labels_and_means_are_weighted_by_chains():
    joined = joined_summaries([({"unfinished": 1, "transitions": 4.0}, 10), ({"unfinished": 2, "transitions": 8.0}, 30)])
    assert joined == {"unfinished": 3, "transitions": 7.0}


def test_where_only_options_travel_the_class_is_one_of_them():
    result = ebm_refine.refine(conditional(), "mala", n_steps=2, num_images=3, options={"label": 1})
    assert result.labels.tolist() == [1, 1, 1]
    assert result.settings.as_dict()["label"] == 1
    with pytest.raises(InputError, match="from 0 to 2; got 3"):
        ebm_refine.refine(conditional(), "mala", n_steps=2, num_images=3, options={"label": 3})
    with pytest.raises(InputError, match="label is given twice, as 0 and in options as 1"):
        ebm_refine.refine(conditional(), "mala", n_steps=2, num_images=3, label=0, options={"label": 1})
    with pytest.raises(InputError, match="has no classes"):
        ebm_refine.refine(model(nn.Identity(), Tilt(1.0)), "mala", n_steps=2, num_images=3, options={"label": 1})


def test_the_best_of_three_draws_of_each_class_follows_its_own_ratio():
    """r = (y - 1) x1 with x1 = z1 + shift: the best z1 is the largest for y = 2, the smallest for y = 0, any for y = 1."""
    index = torch.arange(3000)
    labels = labels_of(conditional().config, 0, index)
    assert labels is not None
    start, best = best_of(target_of(conditional(), "raw", labels=labels), 0, index, 3)
    mean = 3 / (2 * math.sqrt(math.pi))  # of the largest of three standard normals, whose variance is below 1
    for label in range(COUNT):
        z1 = best[labels == label, 0]
        assert abs(float(z1.mean()) - (label - 1) * mean) < 4 / math.sqrt(len(z1))
    assert torch.equal(best[labels == 1], start[labels == 1])


@pytest.mark.slow
def test_the_law_of_each_class_is_its_own():
    """G(z, y) = z + s, r = (y - 1) x1: the law of z1 given y is N(y - 1, 1)."""
    result = ebm_refine.refine(conditional(), "i-sir", n_steps=40, num_images=1500, seed=0)
    for label in range(COUNT):
        z1 = result.positions[result.labels == label, 0]
        assert abs(float(z1.mean()) - (label - 1)) < 4 / math.sqrt(len(z1))


def test_uniform_latents_are_uniform():
    latents = uniform_latents(torch.linspace(-6, 6, 101)[:, None])
    assert latents.abs().max() <= 1
    assert torch.allclose(uniform_latents(torch.tensor([[0.6744897501960817]])), torch.tensor([[0.5]]), atol=1e-6)


@pytest.mark.parametrize("method", ["mala", "hmc", "i-sir", "langevin"])
@pytest.mark.slow
def test_the_law_under_a_uniform_prior_is_the_closed_form(method):
    """z uniform on [-1, 1]^2 and r = c z1: the density of z1 is proportional to exp(c z1), with mean coth c - 1 / c."""
    c = 1.5
    pair = model(nn.Identity(), Tilt(c), prior="uniform")
    eps = {"langevin": 0.05}.get(method)
    result = ebm_refine.refine(pair, method, eps=eps, n_steps=200 if method == "langevin" else 60, num_images=4000, seed=2)
    z = result.after
    assert z.abs().max() <= 1
    mean = 1 / math.tanh(c) - 1 / c
    variance = 1 - 2 * mean / c - mean**2
    assert abs(float(z[:, 0].mean()) - mean) < 4 * math.sqrt(variance / len(z)) + (0.01 if method == "langevin" else 0)
    assert abs(float(z[:, 1].mean())) < 4 * math.sqrt(1 / 3 / len(z))
    before = result.before
    assert abs(float(before[:, 0].var()) - 1 / 3) < 4 * math.sqrt((1 / 5 - 1 / 9) / len(z))
