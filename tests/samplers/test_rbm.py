"""Boltzmann machines and belief networks against enumeration: conditionals, free energy, gradients, partition function, bound.

z-scores fail beyond zscores.LIMIT: a false alarm of 6.8e-6 a score on fresh seeds; the seeds are fixed.
"""

import math

import pytest
import torch
from torch import Tensor
from toy_targets import mutant
from zscores import LIMIT, histogram_score, mean_score

from ebm_refine.energies.targets import BinaryTarget
from ebm_refine.metrics import ais as likelihood
from ebm_refine.metrics.ais import annealed_log_partition, enumerated_log_partition, lower_bounds
from ebm_refine.models.networks.rbm import DBN, RBM
from ebm_refine.samplers import gibbs
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.rng import Draws
from ebm_refine.training.algorithms import finetune
from ebm_refine.training.algorithms import rbm_learning as training
from ebm_refine.training.common.resumable import Run

VISIBLE, HIDDEN = 4, 3


def machine(visible: int = VISIBLE, hidden: int = HIDDEN, scale: float = 1.0, seed: int = 0) -> RBM:
    """Random weights, large enough that the bits depend on one another."""
    source = torch.Generator().manual_seed(seed)
    rbm = RBM(visible, hidden).requires_grad_(False)
    for parameter in rbm.parameters():
        parameter.copy_(scale * torch.randn(parameter.shape, generator=source))
    return rbm


def states(count: int) -> Tensor:
    """All states (2^count, count) of so many bits; state s has bit k of s in column k."""
    return (torch.arange(2**count)[:, None] >> torch.arange(count) & 1).float()


def joint(rbm: RBM) -> Tensor:
    """p(v, h) (2^visible, 2^hidden) float64, from the energy alone."""
    v, h = states(rbm.visible).double(), states(rbm.hidden).double()
    negative = v @ rbm.weight.double() @ h.T + (v @ rbm.visible_bias.double())[:, None] + h @ rbm.hidden_bias.double()
    return (negative - negative.logsumexp(dim=(0, 1))).exp()


def test_free_energy_is_that_of_the_enumerated_law():
    rbm = machine()
    probabilities = (-rbm(states(VISIBLE)).double()).softmax(dim=0)
    torch.testing.assert_close(probabilities, joint(rbm).sum(dim=1), rtol=1e-5, atol=1e-7)


def test_conditionals_are_those_of_the_enumerated_law():
    rbm, law = machine(), joint(machine())
    hidden = law @ states(HIDDEN).double() / law.sum(dim=1, keepdim=True)
    visible = law.T @ states(VISIBLE).double() / law.sum(dim=0)[:, None]
    torch.testing.assert_close(rbm.hidden_mean(states(VISIBLE)).double(), hidden, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rbm.visible_mean(states(HIDDEN)).double(), visible, rtol=1e-5, atol=1e-6)


def test_partition_function_by_enumeration_is_that_of_the_free_energies():
    rbm = machine()
    assert enumerated_log_partition(rbm) == pytest.approx(float((-rbm(states(VISIBLE)).double()).logsumexp(0)), abs=1e-5)
    with pytest.raises(ValueError, match="up to 20 hidden units"):
        enumerated_log_partition(machine(4, 21))


def test_down_and_sizes_of_a_stack():
    network = DBN([6, 5, 4, 3])
    above = (torch.rand(2, 4) < 0.5).float()
    lower, middle, top = network.stack
    assert network.top is top
    torch.testing.assert_close(network.down(above), lower.visible_mean(middle.visible_mean(above)))
    torch.testing.assert_close(network(above), top(above))
    with pytest.raises(ValueError, match="three layers at least"):
        DBN([6, 5])
    with pytest.raises(ValueError, match="visible and hidden units"):
        RBM(6, 0)


def gibbs_counts(module=gibbs, chains: int = 8000, steps: int = 30) -> tuple[Tensor, Tensor]:
    """How often each state is a chain's end, one draw a chain, and the enumerated law."""
    rbm, index = machine(), torch.arange(chains)
    target = BinaryTarget(rbm, (VISIBLE,))
    target.chunk = chains
    *_, last = run(module.gibbs(target), target.init(0, index), 0, index, steps)
    number = (last.state.position @ (2.0 ** torch.arange(VISIBLE))).long()
    return torch.bincount(number, minlength=2**VISIBLE), joint(rbm).sum(dim=1)


def test_gibbs_comes_to_rest_in_the_enumerated_law():
    assert abs(histogram_score(*gibbs_counts())) < LIMIT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tosses[:, target.hidden :] <", "tosses[:, : state.position.shape[1]] <"),  # the same tosses for both blocks
        ("target.downward(hidden)", "target.downward(state.hidden_mean)"),  # means in place of bits
    ],
)
def test_mutation_of_gibbs_is_noticed(old: str, new: str):
    assert abs(histogram_score(*gibbs_counts(mutant(gibbs, old, new)))) > LIMIT


def test_one_step_of_gibbs_has_the_enumerated_transition():
    """From every state, so that the chain is the right one and not just any with the right end."""
    rbm, chains = machine(), 4000
    law = joint(rbm)
    up, down = law / law.sum(dim=1, keepdim=True), law / law.sum(dim=0)
    transition = up @ down.T
    target = BinaryTarget(rbm, (VISIBLE,))
    kernel, index = gibbs.gibbs(target), torch.arange(chains)
    for start in (0, 5, 15):
        state = kernel.init(states(VISIBLE)[start].expand(chains, -1))
        after, _ = kernel.step(state, Draws(1, index, 1))
        number = (after.position @ (2.0 ** torch.arange(VISIBLE))).long()
        assert abs(histogram_score(torch.bincount(number, minlength=2**VISIBLE), transition[start])) < LIMIT


def test_likelihood_gradient_with_the_models_own_statistics():
    """The direction of training, with exact averages in place of chains, is the gradient of the mean log likelihood."""
    rbm, data = machine(), states(VISIBLE)[[1, 5, 5, 14]]
    law = joint(rbm).sum(dim=1).float()
    everything = states(VISIBLE)
    hidden = rbm.hidden_mean(everything)
    of_model = {
        "weight": torch.einsum("s,sv,sh->vh", law, everything, hidden),
        "visible_bias": law @ everything,
        "hidden_bias": law @ hidden,
    }
    ascent = training.contrast(training.statistics(rbm, data), of_model)
    rbm.requires_grad_(True)
    likelihood_of_data = (-rbm(data)).mean() - (-rbm(everything)).logsumexp(0)
    likelihood_of_data.backward()
    for name, parameter in rbm.named_parameters():
        torch.testing.assert_close(ascent[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_cd1_gradient_is_the_enumerated_one_on_average():
    """E over chains of one step from the data, by the transition matrix; |z| of each entry below LIMIT."""
    rbm, repeats = machine(), 4000
    data = states(VISIBLE)[[1, 5, 5, 14]]
    law = joint(rbm)
    transition = (law / law.sum(dim=1, keepdim=True)) @ (law / law.sum(dim=0)).T
    after = transition[[1, 5, 5, 14]].mean(dim=0).float()
    everything = states(VISIBLE)
    exact = torch.einsum("s,sv,sh->vh", after, everything, rbm.hidden_mean(everything))
    source = torch.Generator().manual_seed(0)
    ends = training.block_gibbs(rbm, data.repeat(repeats, 1), 1, source)
    products = (ends[:, :, None] * rbm.hidden_mean(ends)[:, None, :]).unflatten(0, (repeats, 4)).mean(dim=1)
    for row in range(VISIBLE):
        for column in range(HIDDEN):
            assert abs(mean_score(products[:, row, column], float(exact[row, column]))) < LIMIT
    torch.testing.assert_close(training.statistics(rbm, ends)["weight"], products.mean(dim=0), rtol=1e-4, atol=1e-5)


def annealed(module=likelihood, hidden: int = 12) -> tuple[float, float]:
    """The estimate's distance from the truth in standard errors, and the error, of 20 visible units."""
    rbm = machine(20, hidden, scale=0.6, seed=3)
    mean = torch.full((20,), 0.5)
    found = module.annealed_log_partition(rbm, mean, 300, 400, torch.Generator().manual_seed(0))
    return (found.value - enumerated_log_partition(rbm)) / found.error, found.error


@pytest.mark.parametrize("hidden", [1, 12, 16])
def test_annealed_partition_function_is_the_enumerated_one(hidden: int):
    z, error = annealed(hidden=hidden)
    assert abs(z) < LIMIT
    assert error < 0.1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("log_base = rbm.hidden * math.log(2) +", "log_base ="),
        ("torch.sigmoid(after * given)", "torch.sigmoid(given)"),
        ("(1 - after) * base + after * rbm.visible_bias", "rbm.visible_bias"),
    ],
)
def test_mutation_of_annealing_is_noticed(old: str, new: str):
    z, _ = annealed(mutant(likelihood, old, new))
    assert abs(z) > LIMIT


def test_annealing_starts_from_the_means_that_are_given():
    """Where the weights are nothing, every run has the exact answer at once: a machine of independent bits."""
    rbm = machine(6, 3)
    rbm.weight.zero_()
    found = annealed_log_partition(rbm, torch.sigmoid(rbm.visible_bias), 5, 10, torch.Generator().manual_seed(0))
    assert found.value == pytest.approx(enumerated_log_partition(rbm), abs=1e-4)
    assert found.error < 1e-5
    assert found.effective_share == pytest.approx(1.0)


def exact_log_likelihood(network: DBN, bits: Tensor) -> Tensor:
    """log p(v) (N,) of a stack of two machines, summed over the bits between them."""
    lower, top = network.stack
    between = states(top.visible)
    log_prior = (-top(between).double()).log_softmax(dim=0)
    given = torch.stack([likelihood.log_likelihood(lower.visible_input(one.expand(len(bits), -1)), bits) for one in between])
    return (given + log_prior[:, None]).logsumexp(dim=0)


def small_network(tied: bool = False) -> DBN:
    network = DBN([5, 4, 5 if tied else 3]).requires_grad_(False)
    for machine_of, other in zip(network.stack, (machine(5, 4, seed=1), machine(4, 5 if tied else 3, seed=2)), strict=True):
        machine_of.load_state_dict(other.state_dict())
    if tied:
        lower, top = network.stack
        top.weight.copy_(lower.weight.T)
        top.visible_bias.copy_(lower.hidden_bias)
        top.hidden_bias.copy_(lower.visible_bias)
    return network


def test_bound_is_below_the_enumerated_likelihood():
    network, bits = small_network(), states(5)
    bounds = lower_bounds(network, bits, enumerated_log_partition(network.top), 4000, torch.Generator().manual_seed(0))
    exact = exact_log_likelihood(network, bits)
    assert float(exact.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    assert (bounds < exact + 0.02).all()
    assert float((exact - bounds).mean()) > 0.02


def test_bound_is_exact_where_the_upper_machine_is_the_lower_one_turned_over():
    """Then q is the true posterior; so the bound is log p(v) whatever bits q draws (Hinton, Osindero and Teh 2006)."""
    network, bits = small_network(tied=True), states(5)
    log_partition = enumerated_log_partition(network.top)
    bounds = lower_bounds(network, bits, log_partition, 4000, torch.Generator().manual_seed(0))
    as_one_machine = -network.stack[0](bits).double() - log_partition
    torch.testing.assert_close(exact_log_likelihood(network, bits), as_one_machine, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bounds, as_one_machine, rtol=0, atol=0.1)


@pytest.mark.slow
def test_training_learns_a_small_law():
    """PCD on four patterns of six bits: the exact mean log likelihood comes near its best, log 1/4."""
    patterns = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]]).float()
    data = patterns.repeat(100, 1)
    rbm = RBM(6, 5).requires_grad_(False)
    recipe = training.RBMRecipe(150, batch_size=20, rate=0.1, gibbs=2, chains=50)
    *_, last = training.train_rbm(rbm, recipe, data, patterns, lambda part, source: part, 0)
    reached = float((-rbm(patterns)).mean()) - enumerated_log_partition(rbm)
    assert last.numbers.keys() >= {"reconstruction_error", "free_energy_gap"}
    assert math.log(0.25) - 0.4 < reached <= math.log(0.25)


def test_chains_with_a_life_all_begin_anew_once_in_it():
    """Seven updates replace each of 20 chains once, and no chain twice."""
    rbm, recipe = machine(6, 5), training.RBMRecipe(1, chains=20, life=7)
    chains = torch.full((20, 6), 9.0)
    left = []
    for step in range(14, 21):
        training._begin_anew(rbm, chains, recipe, step, torch.Generator().manual_seed(step))
        left.append(int((chains == 9.0).all(dim=1).sum()))
    assert left == [18, 15, 12, 9, 6, 3, 0]


def test_centred_ascent_is_that_of_the_centred_machine():
    """By autograd: the machine in centred weights, its gradient there, and that step in this one's weights."""
    rbm, data = machine(), states(VISIBLE)[[1, 5, 5, 14]]
    away_v, away_h = torch.rand(VISIBLE), torch.rand(HIDDEN)
    weights = [rbm.weight.clone(), rbm.visible_bias + rbm.weight @ away_h, rbm.hidden_bias + away_v @ rbm.weight]
    for value in weights:
        value.requires_grad_(True)

    def plain(weight: Tensor, b: Tensor, c: Tensor) -> RBM:
        centred_machine = RBM(VISIBLE, HIDDEN).requires_grad_(False)
        for name, value in (("weight", weight), ("visible_bias", b - weight @ away_h), ("hidden_bias", c - away_v @ weight)):
            delattr(centred_machine, name)
            setattr(centred_machine, name, value)
        return centred_machine

    centred_machine = plain(*weights)
    (-centred_machine(data).mean() - (-centred_machine(states(VISIBLE))).logsumexp(0)).backward()
    law, hidden = joint(rbm).sum(dim=1).float(), rbm.hidden_mean(states(VISIBLE))
    of_model = {
        "weight": torch.einsum("s,sv,sh->vh", law, states(VISIBLE), hidden),
        "visible_bias": law @ states(VISIBLE),
        "hidden_bias": law @ hidden,
    }
    ascent = training.centred(training.contrast(training.statistics(rbm, data), of_model), away_v, away_h)
    stepped = plain(*(value.detach() + value.grad for value in weights))
    # The biases are linear in W, whose step leaves nothing of second order: the steps themselves are compared.
    for name, step in ascent.items():
        torch.testing.assert_close(step, getattr(stepped, name) - getattr(rbm, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chains", [{}, {"chains": 20}, {"chains": 20, "life": 8, "warm": 3}])
def test_training_resumes_to_the_same_bits(tmp_path, chains: dict[str, int]):
    data = (torch.rand(100, 6, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    recipe = training.RBMRecipe(4, batch_size=20, **chains)
    whole, resumed = (RBM(6, 5).requires_grad_(False) for _ in range(2))
    stages = list(training.train_rbm(whole, recipe, data, data, lambda part, source: part, 1))
    for now in training.train_rbm(machine(6, 5), recipe, data, data, lambda part, source: part, 1, Run(tmp_path, resume=False)):
        if now.step == 3:  # what is saved is the second epoch
            break
    rest = list(training.train_rbm(resumed, recipe, data, data, lambda part, source: part, 1, Run(tmp_path, resume=True)))
    last = rest[-1]
    assert [now.step for now in rest] == [3, 4]
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert last.numbers == stages[-1].numbers


def test_a_classifier_begins_in_the_networks_own_layers():
    """Its hidden layers are the means going up; a random start has other weights in them, and the same last layer."""
    network, pixels = small_network(), torch.rand(7, 5)
    own, random = (finetune.classifier_of(network, 0, pretrained) for pretrained in (True, False))
    lower, top = network.stack
    hidden = top.hidden_mean(lower.hidden_mean(pixels))
    torch.testing.assert_close(own[:-1](pixels), hidden)
    torch.testing.assert_close(own(pixels), own[-1](hidden))
    assert torch.equal(own[-1].weight, random[-1].weight)
    assert not torch.equal(own[0].weight, random[0].weight)
    assert [layer.weight.shape for layer in own[::2]] == [layer.weight.shape for layer in random[::2]]


def test_fine_tuning_learns_and_is_repeatable():
    source = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 5), generator=source, dtype=torch.uint8)
    labels = (pixels[:, 0] > 127).long()
    first, second = (finetune.classifier_of(small_network(), 1, False) for _ in range(2))
    before = finetune.error_rate(first, pixels, labels)
    for classifier in (first, second):
        finetune.fine_tune(classifier, pixels, labels, 0.03, 150, 0)
    assert finetune.error_rate(first, pixels, labels) < 0.1 < before
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))
