"""Best of n by the log ratio: its law in closed form, and what it costs."""

import pytest
import torch
from zscores import LIMIT, mean_score

from ebm_refine.evaluation.best_of import BestOf, best_of, tries_within


class Line:
    """A standard normal latent whose log ratio is its own value."""

    forwards = 0

    def init(self, seed, index):
        return torch.randn(len(index), 1, generator=torch.Generator().manual_seed(seed))

    def prior(self, draws):
        return torch.randn(len(draws.index), 1, generator=torch.Generator().manual_seed(1000 + draws.step))

    def log_ratio(self, position):
        self.forwards += 1
        return position[:, 0]


def test_the_best_of_three_standard_normals_has_the_known_mean():
    """E max of three = 3 / (2 sqrt(pi)); its variance is 1 + sqrt(3) / (2 pi) - 9 / (4 pi)."""
    target = Line()
    start, best = best_of(target, 0, torch.arange(20_000), 3)
    pi = torch.pi
    assert abs(mean_score(best[:, 0], 3 / (2 * pi**0.5))) < LIMIT
    assert float(best.var()) == pytest.approx(1 + 3**0.5 / (2 * pi) - 9 / (4 * pi), rel=0.05)
    assert (best >= start).all()
    assert target.forwards == 3


def test_the_first_draw_is_the_start():
    start, best = best_of(Line(), 4, torch.arange(50), 2)
    share = (best == start)[:, 0].float().mean()
    assert 0.2 < share < 0.8


@pytest.mark.parametrize(("budget", "tries"), [(0.4, 2), (25, 50), (75.4, 150)])
def test_equal_cost_is_two_draws_a_gradient_evaluation(budget, tries):
    assert tries_within(budget) == tries


def test_a_job_tells_its_settings():
    stored = BestOf("m", 9, 1, 50, "refitted").as_dict()
    assert stored["options"] == {"tries": 50}
    assert stored["ratio"] == "refitted"
