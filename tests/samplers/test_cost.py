"""What a run costs an image is known beforehand: against the counts of real runs of every method."""

import pytest
import test_samplers
import torch
from test_samplers import CASES, STEPS, Case

from ebm_refine.errors import InputError
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.cost import cost_of, evaluations, spent, steps_within
from ebm_refine.samplers.loop import run

quickly_learned_flow = test_samplers.quickly_learned_flow
COUNT = 40
COUNTED = [case for case in CASES if not case.bits]


@pytest.mark.parametrize("case", COUNTED, ids=lambda case: "-".join([case.method, *map(str, case.values.values())]))
def test_the_promised_cost_is_that_of_a_run(case: Case) -> None:
    """Equal where the method costs the same at every step; near it and hardly more where the run decides."""
    target, index = test_samplers.posterior(), torch.arange(COUNT)
    kernel = case.build(target)
    learning = (target.forwards, target.gradients)
    for _ in run(kernel, target.init(3, index), 3, index, STEPS):
        pass
    found = spent((target.forwards - learning[0]) / COUNT, (target.gradients - learning[1]) / COUNT)
    promised = evaluations(case.method, case.all_values, STEPS)
    if cost_of(case.method, case.all_values).exact:
        assert found == pytest.approx(promised)
    else:
        assert 0.2 * promised < found <= 1.3 * promised
    learned = METHODS[case.method].pilot_cost(case.all_values)
    assert learning == (learned.forwards, learned.gradients)


@pytest.mark.parametrize("budget", [7.0, 19.5, 50.0])
def test_steps_within_a_budget_are_the_most_that_it_pays_for(budget: float) -> None:
    for case in COUNTED:
        values = case.all_values
        steps = steps_within(case.method, values, budget)
        assert evaluations(case.method, values, steps) <= budget < evaluations(case.method, values, steps + 1)


def test_fifty_evaluations_in_steps() -> None:
    """By hand: a start of 1, or half a one without a gradient; then what is left over the price of a step."""
    defaults = {name: {row.name: row.default for row in method.parameters} for name, method in METHODS.items()}
    expected = {"langevin": 49, "mala": 49, "hmc": 9, "rejection": 100, "mh-gan": 99, "i-sir": 11, "ex2mcmc": 5, "tempering": 9}
    assert {name: steps_within(name, defaults[name], 50) for name in expected} == expected


def test_what_cannot_be_paid_or_counted_is_said() -> None:
    with pytest.raises(InputError, match="a budget of 1 gradient evaluations an image does not pay for one step of 'langevin'"):
        steps_within("langevin", {}, 1)
    with pytest.raises(InputError, match="has no cost in gradient evaluations"):
        cost_of("gibbs", {})
