"""Two runs of one model on the same seeds, advanced in turns, each with as many steps as one budget pays for."""

import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from ebm_refine import pipeline, render
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points
from ebm_refine.parameters import Parameter
from ebm_refine.result import Frame, RefineResult, decode, picture
from ebm_refine.samplers.cost import steps_within
from ebm_refine.settings import COMMON, Settings
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.background import in_background
from ebm_refine.ui.runtime.model_cache import kept
from ebm_refine.ui.runtime.zero_gpu import borrows_gpu
from ebm_refine.ui.tabs.refine.job import LIVE_EVERY, checked, device, measured, model_named
from ebm_refine.utils.timing import ess_per_second, timed

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


@dataclass
class _Running:
    settings: Settings
    items: Iterator[tuple[Frame | RefineResult, float]]
    progress: float = 0.0
    seconds: float = 0.0
    shown: float = -math.inf
    step_seconds: tuple[float, ...] = ()
    result: RefineResult | None = None


def checked_pair(model: Any, num_images: Any, seed: Any, budget: Any, sides: tuple[dict[str, Any], dict[str, Any]]) -> Pair:
    """Both runs, within the page's limits together; each of `sides` holds method, ratio and eps. Raises InputError."""
    common = {"num_images": IMAGES.parse(num_images), "seed": SEED.given(seed)}
    budget = BUDGET.parse(budget)
    points = is_points(model_named(model).config)
    within = limits.check_points if points else limits.check
    settled = []
    for side in sides:
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
    began = time.monotonic()
    with closing(in_background(lambda: _work(pair))) as news:
        for item in news:
            yield item
            if time.monotonic() - began > limits.MAX_SECONDS:
                raise limits.too_slow()


@borrows_gpu
def _work(pair: Pair) -> Generator[Moment | Compared, None, None]:
    where = device()
    checkpoint = kept(pair.first.model)
    sides = [_Running(settings, timed(pipeline.run(checkpoint, settings, where))) for settings in (pair.first, pair.second)]
    while waiting := [side for side in sides if side.result is None]:
        # Whichever is less far gets the next transition, so that both end together.
        side = min(waiting, key=lambda one: one.progress)
        item, seconds = next(side.items)
        side.seconds += seconds
        if isinstance(item, RefineResult):
            side.result = item
            continue
        side.progress = item.step / item.n_steps
        side.step_seconds += (seconds,) if item.step else ()
        if time.monotonic() - side.shown >= LIVE_EVERY:
            samples = decode(checkpoint, side.settings, item.positions, where)
            yield Moment(sides.index(side), item, _drawn(checkpoint, samples), side.seconds)
            side.shown = time.monotonic()
    first, second = (side.result for side in sides)
    assert first is not None
    assert second is not None
    yield Compared(
        _drawn(checkpoint, first.before),
        (_ended(checkpoint, sides[0]), _ended(checkpoint, sides[1])),
        measured(checkpoint, first.after, second.after),
    )


def _ended(checkpoint: Checkpoint, side: _Running) -> Side:
    result = side.result
    assert result is not None
    after: Tensor = result.after
    metrics = {"diagnostics": result.diagnostics, **measured(checkpoint, result.before, after)}
    rate = ess_per_second(result.diagnostics, side.step_seconds)
    return Side(side.settings, _drawn(checkpoint, after), metrics, side.seconds, rate)


def _drawn(checkpoint: Checkpoint, samples: Tensor) -> Image.Image:
    """A plot of points, or a grid of images large enough to be looked at beside two others."""
    if is_points(checkpoint.config):
        return picture(checkpoint.config, samples)
    return render.grid(samples, scale=render.scale_for(samples, GRID_WIDTH))
