"""The contract: one table, every sampler in it, the same battery for each. Closed-form statistics: test_oracles.py."""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import torch
import toy_targets
from torch import Tensor

from ebm_refine.pipeline import refine
from ebm_refine.samplers import METHODS, flow, i_sir
from ebm_refine.samplers.base import Info, Kernel, State
from ebm_refine.samplers.loop import MAX_FRAMES, run, saved_steps
from ebm_refine.samplers.method import Method
from ebm_refine.samplers.pilot import PILOT_SIZE, Pilot
from ebm_refine.samplers.rng import Draws

CHAINS, STEPS = 12, 6


@dataclass(frozen=True)
class Case:
    """A row: `values` over the method's defaults. What is promised of it stands in the method's declaration."""

    method: str
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> Method:
        return METHODS[self.method]

    @property
    def all_values(self) -> dict[str, Any]:
        return {row.name: row.default for row in self.row.parameters} | self.values

    @property
    def bits(self) -> bool:
        """Whether it samples a Boltzmann machine, and no gradient."""
        return "rbm" in self.row.kinds

    def target(self) -> Any:
        return toy_targets.bits() if self.bits else posterior()

    @property
    def edge(self) -> float:
        """Where a hole in the target begins that half of the start may lie in."""
        return 0.5 if self.bits else 1.0

    def build(self, target: Any) -> Kernel:
        return self.row.build(target, self.all_values, Pilot(target, 0))


# Settings worth the battery; a method without one here runs with its defaults.
SETTINGS = [
    Case("langevin", {"eps": 0.1}),
    Case("langevin", {"eps": 0.1, "temperature": 0.0}),
    Case("short-run", {"eps": 0.3, "temperature": 0.5, "clip": 0.7}),
    Case("rejection"),
    Case("rejection", {"gamma_percentile": 80.0}),
    Case("mala", {"eps": 0.5}),
    Case("mala", {"temperature": 0.5}),
    Case("hmc", {"eps": 0.3, "leapfrog": 4}),
    Case("hmc", {"leapfrog": 1}),
    Case("underdamped", {"eps": 0.1}),
    Case("mh-gan"),
    Case("mh-gan", {"start_ratio": 0.5}),
    Case("i-sir", {"particles": 5}),
    Case("ex2mcmc", {"eps": 0.5, "particles": 4, "local_moves": 2}),
    Case("flex2mcmc", {"eps": 0.5, "particles": 4, "local_moves": 2}),
    Case("tempering", {"eps": 0.5, "rungs": 4}),
    Case("obrs", {"n_steps": STEPS}),
    Case("elliptical-slice", {"n_steps": STEPS}),
    Case("smc", {"eps": 0.5, "n_steps": STEPS}),
    Case("dot", {"eps": 0.05}),
    Case("dot", {"eps": 0.05, "constraint": "shell"}),
    *(Case("dg-flow", {"eps": 0.1, "divergence": divergence}) for divergence in ("KL", "JS", "logD")),
]
CASES = [*SETTINGS, *(Case(name) for name in METHODS if name not in {case.method for case in SETTINGS})]
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join([case.method, *map(str, case.values.values())]))


@pytest.fixture(autouse=True)
def quickly_learned_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few fast iterations are enough for a flow that beats the prior on the toy, which is all that the contract needs."""
    monkeypatch.setattr(flow, "ITERATIONS", 10)
    monkeypatch.setattr(flow, "RATE", 1e-2)


def posterior() -> Any:
    return toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK, chunk=64)


def frames(case: Case, target: Any, index: Tensor, seed: int = 3, n_steps: int = STEPS) -> list[Any]:
    return list(run(case.build(target), target.init(seed, index), seed, index, n_steps))


@EVERY
def test_shapes_and_dtypes(case: Case) -> None:
    target = case.target()
    for frame in frames(case, target, torch.arange(CHAINS)):
        assert frame.state.position.shape == (CHAINS, 3)
        assert frame.state.position.dtype == frame.state.energy.dtype == torch.float32
        assert frame.state.energy.shape == (CHAINS,)
        assert frame.accepted.shape == frame.nonfinite.shape == (CHAINS,)
        assert frame.accepted.dtype == frame.nonfinite.dtype == torch.bool
        assert not any(isinstance(part, Tensor) and part.requires_grad for part in frame.state)


@EVERY
def test_energy_belongs_to_the_position(case: Case) -> None:
    """What a state carries is what a fresh evaluation gives; so does its gradient, where it has one."""
    target = case.target()
    for frame in frames(case, target, torch.arange(CHAINS)):
        energy, grad = target.energy_and_grad(frame.state.position)
        torch.testing.assert_close(frame.state.energy, energy, rtol=1e-5, atol=1e-5)
        if "grad" in frame.state._fields:
            torch.testing.assert_close(frame.state.grad, grad, rtol=1e-5, atol=1e-5)


@EVERY
@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(case: Case) -> None:
    first, second, other = (frames(case, case.target(), torch.arange(CHAINS), seed)[-1].state for seed in (3, 3, 4))
    assert torch.equal(first.position, second.position)
    assert torch.equal(first.energy, second.energy)
    assert not torch.equal(first.position, other.position)


@EVERY
@pytest.mark.slow
def test_a_chain_does_not_depend_on_the_others(case: Case) -> None:
    if case.row.coupled:
        pytest.skip("couples its chains, and says so")
    everything = frames(case, case.target(), torch.arange(CHAINS))[-1].state
    few = torch.tensor([7, 2])
    assert torch.equal(everything.position[few], frames(case, case.target(), few)[-1].state.position)
    assert torch.equal(everything.position[7:8], frames(case, case.target(), few[:1])[-1].state.position)


@EVERY
def test_the_chains_move(case: Case) -> None:
    run_frames = frames(case, case.target(), torch.arange(60), n_steps=8)
    assert (run_frames[-1].state.position != run_frames[0].state.position).any()
    assert any(frame.accepted.any() for frame in run_frames)


@EVERY
@pytest.mark.slow
def test_holes_in_the_target_are_survived_and_counted(case: Case) -> None:
    """NaN in one region, infinity in another: no chain enters either, what was thrown away is counted."""
    target = toy_targets.Holed(case.target(), edge=case.edge)
    index = torch.arange(120)
    inside = target.init(3, index)[:, 0].abs() < case.edge
    index = index[inside]
    run_frames = list(run(case.build(target), target.init(3, index), 3, index, 12))
    for frame in run_frames:
        assert frame.state.position.isfinite().all()
        assert frame.state.energy.isfinite().all()
        assert (frame.state.position[:, 0].abs() <= case.edge).all()
    if case.values.get("temperature") != 0.0:
        assert sum(int(frame.nonfinite.sum()) for frame in run_frames) > 0


@EVERY
def test_a_start_in_a_hole_stays_finite(case: Case) -> None:
    target = toy_targets.Holed(case.target(), edge=0.5)
    for frame in frames(case, target, torch.arange(50), n_steps=6):
        assert frame.state.position.isfinite().all()


@EVERY
def test_cost_is_counted_by_the_target(case: Case) -> None:
    """A step costs what its declaration says, at every step of the run, where it says that exactly."""
    if case.row.cost is None or not case.row.cost(case.all_values).exact:
        pytest.skip("its cost depends on the run, or is none of an image's networks")
    promised = case.row.cost(case.all_values).step
    target = case.target()
    index = torch.arange(CHAINS)
    kernel = case.build(target)
    costs = []
    for _ in run(kernel, target.init(3, index), 3, index, STEPS):
        costs.append((target.forwards, target.gradients))
    spent = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(costs)]
    assert spent == [(CHAINS * promised.forwards, CHAINS * promised.gradients)] * STEPS


@EVERY
def test_summary_is_plain_numbers_and_words(case: Case) -> None:
    target = case.target()
    kernel = case.build(target)
    *_, last = run(kernel, target.init(3, torch.arange(CHAINS)), 3, torch.arange(CHAINS), STEPS)
    assert all(type(value) in (int, float, str) for value in kernel.summary(last.state).values())


def test_passes_through_the_networks_are_as_few_as_promised() -> None:
    """Counted by hooks on the ratio itself: MALA one forward and one backward a step, i-SIR N - 1 forwards and no backward."""
    for case, forwards, backwards in (
        (Case("mala", {"eps": 0.5}), 1, 1),
        (Case("langevin"), 1, 1),
        (Case("i-sir", {"particles": 7}), 6, 0),
        (Case("mh-gan"), 1, 0),
    ):
        target, index = posterior(), torch.arange(CHAINS)
        target.chunk = 1  # no padding: every pass is of one image
        kernel = case.build(target)
        state = kernel.init(target.init(3, index))
        seen = {"forward": 0, "backward": 0}

        def passed(which: str, seen: dict[str, int] = seen) -> Any:
            return lambda *_: seen.update({which: seen[which] + 1})

        target.ratio.register_forward_hook(passed("forward"))
        target.ratio.register_full_backward_hook(passed("backward"))
        for step in range(1, STEPS + 1):
            state, _ = kernel.step(state, Draws(3, index, step))
        assert seen == {"forward": STEPS * CHAINS * forwards, "backward": STEPS * CHAINS * backwards}


def test_global_moves_in_groups_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many images go through i-SIR in groups, so that memory does not follow their number."""
    case = Case("i-sir", {"particles": 5})
    whole = frames(case, posterior(), torch.arange(CHAINS))[-1].state
    monkeypatch.setattr(i_sir, "MAX_DRAWS", 12)
    for one, other in zip(whole, frames(case, posterior(), torch.arange(CHAINS))[-1].state, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if "pair" in row.kinds])
@pytest.mark.slow
def test_every_method_refines_a_pair(method: str, tiny_pair: Any) -> None:
    """Through the pipeline: image i does not depend on how many are asked for, and the diagnostics are JSON."""
    many, few = (refine(tiny_pair, method, eps=0.1, n_steps=3, num_images=count, seed=5) for count in (9, 4))
    assert torch.equal(many.before[:4], few.before)
    if METHODS[method].coupled:
        assert "resampled together" in many.diagnostics["coupling"]
    else:
        assert torch.equal(many.after[:4], few.after)
        assert torch.equal(many.positions[:4], few.positions)
    assert many.after.dtype == torch.uint8
    assert many.energy_after.isfinite().all()
    json.dumps(many.diagnostics, allow_nan=False)


def count_up(stop: int = 10**9) -> Kernel:
    """A kernel that adds one to every coordinate, finished once it has done so `stop` times."""
    everything = torch.ones(1, dtype=torch.bool)

    def step(state: State, draws: Any) -> tuple[State, Info]:
        return state._replace(position=state.position + 1), Info(everything, ~everything)

    def init(position: Tensor) -> State:
        return State(position, position[:, 0], position)

    return Kernel(init, step, finished=lambda state: bool(state.position[0, 0] >= stop))


def drive(n_steps: int, stop: int = 10**9) -> list[Any]:
    return list(run(count_up(stop), torch.zeros(1, 1), 0, torch.zeros(1, dtype=torch.int64), n_steps))


@pytest.mark.parametrize("n_steps", [0, 1, 2, 59, 60, 61, 1000])
def test_driver_keeps_at_most_sixty_frames_ends_included(n_steps: int) -> None:
    frames = drive(n_steps)
    assert [frame.step for frame in frames] == list(range(n_steps + 1))
    saved = [frame.step for frame in frames if frame.keep]
    assert len(saved) == min(n_steps + 1, MAX_FRAMES)
    assert (saved[0], saved[-1]) == (0, n_steps)
    gaps = {after - before for before, after in pairwise(saved)}
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert saved_steps(n_steps) == frozenset(saved)


def test_driver_ends_early_and_keeps_the_end() -> None:
    frames = drive(1000, stop=7)
    assert frames[-1].step == 7
    assert frames[-1].keep
    assert float(frames[-1].state.position) == 7.0


def test_driver_stops_when_closed() -> None:
    stages = run(count_up(), torch.zeros(1, 1), 0, torch.zeros(1, dtype=torch.int64), 1000)
    next(stages)
    stages.close()
    assert list(stages) == []


def test_rejection_starts_from_before_and_counts_its_fallbacks() -> None:
    """Proposal 0 is the slot's own start; a slot whose budget ends keeps its best proposal and is counted."""
    target = posterior()
    index = torch.arange(200)
    start = target.init(3, index)
    kernel = METHODS["rejection"].build(
        target, {"log_bound": toy_targets.PEAK + 4.0, "gamma_percentile": None, "delta": 1e-6}, Pilot(target, 0)
    )
    *_, first = run(kernel, start, 3, index, 1)
    assert torch.equal(first.state.position, start)
    *_, last = run(kernel, start, 3, index, 5)
    summary = kernel.summary(last.state)
    assert summary["budget_exhausted"] == int((~last.state.done).sum()) > 0
    assert "lower log_bound" in summary["advice"]
    assert (target.log_ratio(last.state.position)[~last.state.done] >= target.log_ratio(start)[~last.state.done]).all()


def test_rejection_counts_ratios_above_its_bound() -> None:
    target = posterior()
    index = torch.arange(300)
    kernel = METHODS["rejection"].build(target, {"log_bound": 0.0, "gamma_percentile": None, "delta": 1e-6}, Pilot(target, 0))
    *_, last = run(kernel, target.init(3, index), 3, index, 50)
    assert kernel.summary(last.state)["exceedances"] > 0


def test_pilot_is_fixed_whatever_is_asked_for() -> None:
    target = posterior()
    assert torch.equal(Pilot(target, 5).ratios(), Pilot(target, 5).ratios())
    assert len(Pilot(target, 5).ratios()) == PILOT_SIZE
    assert not torch.equal(Pilot(target, 5).positions(4), Pilot(target, 6).positions(4))
    assert not torch.equal(Pilot(target, 5).positions(4), target.init(5, torch.arange(4)))


def test_pilot_says_when_no_ratio_is_finite() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        Pilot(toy_targets.Holed(posterior(), edge=0.0), 0).ratios()
