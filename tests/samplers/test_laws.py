"""Whatever claims a law is tested against it, because it is in the registry; what claims none is named here with the reason."""

import laws
import pytest
from zscores import LIMIT

from ebm_refine.samplers import METHODS, flow
from ebm_refine.samplers.method import Claim, Method

# Methods whose steps leave no law invariant, and why; what they do instead is tested in closed form elsewhere.
NO_LAW = {
    "short-run": "the gradient is clipped and the noise is that of another temperature: the run defines what it gives",
    "smc": "a population is carried along a path of laws once, and has no step that could be repeated (oracles.smc_evidence)",
    "dot": "a descent without noise",
    "dg-flow": "there is no pull to the prior, so its law goes on changing with every step (oracles.dg_flow_law)",
}
# The flow's own networks cost more than all of the toys: fewer chains and particles. OBRS: few enough proposals that the
# ratio is cut.
FITTED = {"flex2mcmc": {"chains": 1000, "particles": 4}, "obrs": {"n_steps": 4}}
# Several seconds each.
MANY_PASSES = {"ex2mcmc", "flex2mcmc"}


@pytest.fixture(autouse=True)
def quickly_learned_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "ITERATIONS", 12)
    monkeypatch.setattr(flow, "RATE", 1e-2)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(row, id=row.name, marks=[pytest.mark.slow] if row.name in MANY_PASSES else [])
        for row in METHODS.values()
        if row.law.claim is not Claim.NONE
    ],
)
def test_a_method_has_the_law_that_it_claims(method: Method, record_property) -> None:
    found = laws.scores(method, **FITTED.get(method.name, {}))
    for name, z in found.items():
        record_property(name, z)
    assert all(abs(z) <= LIMIT for z in found.values()), found


def test_what_claims_no_law_is_named_with_the_reason() -> None:
    assert {name for name, row in METHODS.items() if row.law.claim is Claim.NONE} == set(NO_LAW)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda row: row.name)
def test_what_a_method_claims_is_well_formed(method: Method) -> None:
    """A sentence for the page; a closed form where there is a bias, which vanishes with the step, and nowhere else."""
    assert method.law.sentence.endswith(".")
    if "whatever the step size" in method.law.sentence:
        assert "eps" in {row.name for row in method.parameters}
    assert (method.law.variance is not None) == (method.law.claim is Claim.BIASED)
    if method.law.variance is not None:
        values = {row.name: row.default for row in method.parameters}
        tiny, large = (method.law.variance(values | {"eps": eps}, 2.5) for eps in (1e-9, 0.5))
        assert tiny == pytest.approx(1 / 2.5, rel=1e-6)
        assert large != pytest.approx(1 / 2.5, rel=1e-2)
