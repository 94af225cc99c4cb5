"""Two runs of one model on the same seeds, advanced in turns, each with as many steps as one budget pays for."""

import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from PIL import Image

from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points
from ebm_refine.parameters import Parameter
from ebm_refine.result import Frame, RefineResult, decode
from ebm_refine.samplers.cost import steps_within
from ebm_refine.settings import COMMON, Settings
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.background import bounded
from ebm_refine.ui.runtime.model_cache import cached_model
from ebm_refine.ui.runtime.zero_gpu import borrows_gpu
from ebm_refine.ui.tabs.refine.job import LIVE_EVERY, checked, device, measured, model_named
from ebm_refine.ui.tabs.refine.several_runs import OneRun, drawn, several
from ebm_refine.utils.timing import ess_per_second

GRID_WIDTH = 440
IMAGES = Parameter("num_images", "int", 16, 2, 64, unit="images", help="the same seeds for both")
BUDGET = Parameter("budget", "float", 20.0, 2.0, 100.0, unit="gradient evaluations an image", help="what each method may spend")
SEED = next(row for row in COMMON if row.name == "seed")


class Pair(NamedTuple):
    """Two checked runs that differ in method, ratio and settings; as `space.seconds_for` asks, what they cost together."""

    first: Settings
    second: Settings

    @property
    def num_images(self) -> int:
        return self.first.num_images

    @property
    def n_steps(self) -> int:
        return self.first.n_steps + self.second.n_steps


class Moment(NamedTuple):
    """Side 0 or 1 after a transition: its frame, a picture of it, and the seconds that its steps have taken."""

    side: int
    frame: Frame
    picture: Image.Image
    seconds: float


class Side(NamedTuple):
    """The end of one run. `metrics` compares it with what it began with; `seconds` are those of making it."""

    settings: Settings
    picture: Image.Image
    metrics: dict[str, Any]
    seconds: float
    ess_per_second: float | None


class Compared(NamedTuple):
    """The end of both. `between` is the report of the second after the first, in place of after and before."""

    before: Image.Image
    sides: tuple[Side, Side]
    between: dict[str, Any]


@contextmanager
def method_named(letter: str) -> Iterator[None]:
    """Errors in one side's settings say which of both methods they are of."""
    try:
        yield
    except InputError as error:
        raise InputError(f"method {letter}: {error}") from None


def checked_pair(model: Any, num_images: Any, seed: Any, budget: Any, sides: tuple[dict[str, Any], dict[str, Any]]) -> Pair:
    """Both runs, within the page's limits together; each of `sides` holds method, ratio and eps. Raises InputError."""
    common = {"num_images": IMAGES.parse(num_images), "seed": SEED.given(seed)}
    budget = BUDGET.parse(budget)
    points = is_points(model_named(model).config)
    within = limits.check_points if points else limits.check
    settled = []
    for letter, side in zip("AB", sides, strict=True):
        with method_named(letter):
            one_step = checked(model, {**common, **side, "n_steps": 1})
            settled.append(within(one_step.changed(n_steps=steps_within(one_step.method, one_step.values, budget))))
    pair = Pair(*settled)
    most = limits.MAX_POINT_WORK if points else limits.MAX_WORK
    asked = limits.work_of(pair.first) + limits.work_of(pair.second)
    if asked > most:
        raise InputError(f"both together may take at most {most} gradient evaluations here; these take {asked:.0f}")
    return pair


def run(pair: Pair) -> Generator[Moment | Compared | None, None, None]:
    """Yield live moments of both sides, then the comparison; None at least every fifth of a second. Close it to stop.

    Raises InputError for a run that takes too long.
    """
    with closing(bounded(lambda: _work(pair))) as news:
        yield from news


@borrows_gpu
def _work(pair: Pair) -> Generator[Moment | Compared, None, None]:
    where, shown = device(), [-math.inf, -math.inf]
    checkpoint = cached_model(pair.first.model)
    ended: dict[int, OneRun] = {}
    for side, run_, item in several(checkpoint, (pair.first, pair.second), where, in_turns=True):
        if isinstance(item, RefineResult):
            ended[side] = run_
        elif time.monotonic() - shown[side] >= LIVE_EVERY:
            samples = decode(checkpoint, run_.settings, item.positions, where)
            yield Moment(side, item, drawn(checkpoint, samples, GRID_WIDTH), run_.seconds)
            shown[side] = time.monotonic()
    first, second = (_result(ended[side]) for side in (0, 1))
    yield Compared(
        drawn(checkpoint, first.before, GRID_WIDTH),
        (_ended(checkpoint, ended[0]), _ended(checkpoint, ended[1])),
        measured(checkpoint, first.after, second.after),
    )


def _ended(checkpoint: Checkpoint, side: OneRun) -> Side:
    result = _result(side)
    metrics = {"diagnostics": result.diagnostics, **measured(checkpoint, result.before, result.after)}
    rate = ess_per_second(result.diagnostics, side.step_seconds)
    return Side(side.settings, drawn(checkpoint, result.after, GRID_WIDTH), metrics, side.seconds, rate)


def _result(side: OneRun) -> RefineResult:
    assert side.result is not None
    return side.result
