"""Samplers against closed-form laws: `pytest -k oracle` prints a z-score each. See `zscores.LIMIT` for the false alarms."""

from collections.abc import Callable

import oracles
import pytest
from zscores import LIMIT

Score = Callable[[str, dict[str, float]], None]


@pytest.fixture
def score(capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]) -> Score:
    """Print the scores, record them in the test report, and ask that each lies within LIMIT."""

    def check(title: str, scores: dict[str, float]) -> None:
        with capsys.disabled():
            print(f"\n  oracle {title}: " + ", ".join(f"{name} z = {z:+.2f}" for name, z in scores.items()), end="")
        for name, z in scores.items():
            record_property(f"{title}, {name}", z)
        assert all(abs(z) <= LIMIT for z in scores.values()), scores

    return check


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_oracle_langevin_variance_is_the_biased_one(score: Score, temperature: float) -> None:
    scores = oracles.langevin_variance(temperature=temperature)
    wrong = scores.pop("variance, were it unbiased")
    score(f"D1 langevin, T = {temperature} (against the unbiased 1/lambda: z = {wrong:+.1f})", scores)
    assert abs(wrong) > 4 * LIMIT


def test_oracle_langevin_posterior(score: Score) -> None:
    score("D3 langevin", oracles.langevin_posterior())


def test_oracle_rejection_posterior(score: Score) -> None:
    score("D3 rejection", oracles.rejection_posterior())


def test_oracle_rejection_over_a_finite_space(score: Score) -> None:
    score("D6 rejection, pilot maximum", oracles.rejection_discrete())


@pytest.mark.parametrize("gamma", [-2.0, 1.5])
def test_oracle_drs_with_gamma(score: Score, gamma: float) -> None:
    score(f"D6 DRS, gamma = {gamma}", oracles.drs_discrete(gamma))
