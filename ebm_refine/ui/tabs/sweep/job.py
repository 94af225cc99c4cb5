"""A small sweep for a visitor: every cell a run on the same seeds, one after the other, within one budget for them all."""

from collections.abc import Generator
from contextlib import closing
from typing import Any, NamedTuple

from PIL import Image

from ebm_refine import render
from ebm_refine.catalogue import load
from ebm_refine.errors import InputError
from ebm_refine.models.kinds import is_points
from ebm_refine.parameters import Parameter, shorten
from ebm_refine.result import Frame
from ebm_refine.samplers import METHODS
from ebm_refine.settings import COMMON, Settings, resolve
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.background import bounded
from ebm_refine.ui.runtime.zero_gpu import borrows_gpu
from ebm_refine.ui.tabs.refine.job import device, measured, model_named
from ebm_refine.ui.tabs.refine.several_runs import drawn, several

MAX_VALUES = 8
PICTURED, PICTURE_WIDTH = 4, 200
# Of fewer images the error of a difference is itself too uncertain to tell it from chance.
LEAST_SIGNIFICANT = 16
IMAGES = Parameter("num_images", "int", 16, 2, 64, unit="images", help="the same seeds in every cell")
SEED = next(row for row in COMMON if row.name == "seed")


class Plan(NamedTuple):
    """A checked sweep: `cells[i][j]` has the settings for eps[i] and steps[j]; as `space.seconds_for` asks, what it costs."""

    eps: list[float]
    steps: list[int]
    cells: list[list[Settings]]

    @property
    def num_images(self) -> int:
        return self.cells[0][0].num_images

    @property
    def n_steps(self) -> int:
        return len(self.eps) * sum(self.steps)


class Moment(NamedTuple):
    """A running cell: how many cells are done, of how many, and its frame."""

    done: int
    of: int
    frame: Frame


class Cell(NamedTuple):
    """A finished cell. `before` is what all cells began with; `metrics` compares it with `after` as every run does."""

    row: int
    column: int
    before: Image.Image
    after: Image.Image
    metrics: dict[str, Any]


class CellDistance(NamedTuple):
    """A cell's number: the distance after and before, and whether their paired difference is significant."""

    name: str
    after: float
    before: float
    significant: bool


def checked_sweep(
    model: Any, method: Any, eps: Any, n_steps: Any, num_images: Any, seed: Any, ratio: Any, options: dict[str, Any]
) -> Plan:
    """The settings of all cells, within the page's limits together. `options`: beta, temperature, options of the method.

    Raises InputError, one sentence; of a sweep that is too large it says how large it may be.
    """
    info = model_named(model)
    if isinstance(method, str) and method in METHODS and "eps" not in METHODS[method].uses:
        able = ", ".join(name for name in info.methods if "eps" in METHODS[name].uses)
        raise InputError(f"method {method!r} has no eps to sweep over; use {able or 'another model'}")
    common: dict[str, Any] = {
        "method": method,
        "num_images": IMAGES.parse(num_images),
        "seed": SEED.given(seed),
        "ratio": ratio,
    }
    settings = resolve(info.name, info.config, **common, **options)
    steps, sizes = _values("n_steps", n_steps), _values("eps", eps)
    cells = [[settings.changed(eps=one, n_steps=many) for many in steps] for one in sizes]
    plan = Plan([row[0].values["eps"] for row in cells], [cell.n_steps for cell in cells[0]], cells)
    _within_budget(plan, limits.MAX_POINT_WORK if is_points(info.config) else limits.MAX_WORK)
    return plan


def _values(name: str, given: Any) -> list[Any]:
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_VALUES or any(value is None for value in given):
        raise InputError(f"{name} must be a list of 1 to {MAX_VALUES} numbers; got {shorten(given)}")
    if any(given.count(value) > 1 for value in given):
        raise InputError(f"{name} must be a list of different numbers; got {shorten(given)}")
    return given


def work_of(plan: Plan) -> float:
    """Gradient evaluations of all cells together."""
    return plan.num_images * plan.n_steps * limits.step_price(plan.cells[0][0])


def _within_budget(plan: Plan, most: int) -> None:
    work, price = work_of(plan), limits.step_price(plan.cells[0][0])
    if work <= most:
        return
    images = int(most // (plan.n_steps * price))
    allowed = (
        f"with these eps and n_steps num_images may be at most {images}"
        if images >= IMAGES.low
        else f"with {plan.num_images} images and {len(plan.eps)} values of eps the n_steps may sum to at most "
        f"{int(most // (plan.num_images * len(plan.eps) * price))}"
    )
    factor = "" if price == 1 else f" x {price:g}"
    raise InputError(
        f"images x steps of all cells together{' x the cost of a step' if factor else ''} must be at most {most} here; "
        f"got {plan.num_images} x {len(plan.eps)} x {sum(plan.steps)}{factor} = {work:.0f}, and {allowed}"
    )


def run(plan: Plan) -> Generator[Moment | Cell | None, None, None]:
    """Yield moments and finished cells, row by row; None at least every fifth of a second. Close it to stop.

    Raises InputError for a sweep that takes too long.
    """
    with closing(bounded(lambda: _work(plan))) as news:
        yield from news


@borrows_gpu
def _work(plan: Plan) -> Generator[Moment | Cell, None, None]:
    checkpoint = load(plan.cells[0][0].model)
    cells = [settings for line in plan.cells for settings in line]
    for number, _, item in several(checkpoint, cells, device()):
        if isinstance(item, Frame):
            yield Moment(number, len(cells), item)
            continue
        most = len(item.before) if is_points(checkpoint.config) else PICTURED
        before, after = (drawn(checkpoint, samples[:most], PICTURE_WIDTH) for samples in (item.before, item.after))
        row, column = divmod(number, len(plan.steps))
        yield Cell(row, column, before, after, measured(checkpoint, item.before, item.after))


def distance_of(metrics: dict[str, Any]) -> CellDistance | None:
    """The distance by which a cell is shown, of images that of kernels times 1000; None where nothing could be measured."""
    if "kernel_distance" in metrics:
        kernel = metrics["kernel_distance"]
        low, high = kernel["difference"]["interval"]
        after, before = (1000 * kernel[side]["value"] for side in ("after", "before"))
        significant = metrics["num_images"] >= LEAST_SIGNIFICANT and not low <= 0 <= high
        return CellDistance("kernel distance × 1000", after, before, significant)
    if "earth_movers_distance" in metrics:
        distance = metrics["earth_movers_distance"]
        significant = abs(distance["after"] - distance["before"]) > 3 * distance["floor"]["sd"]
        return CellDistance("earth mover's distance", distance["after"], distance["before"], significant)
    return None


def pictured(plan: Plan, cells: list[Cell]) -> Image.Image:
    """The table of pictures of the finished cells, with what all began with in its first column."""
    table: list[list[Image.Image | None]] = [[cells[0].before, *[None] * len(plan.steps)] for _ in plan.eps]
    for cell in cells:
        table[cell.row][1 + cell.column] = cell.after
    return render.picture_table(table, labels(plan)[0], ["before", *labels(plan)[1]])


def heat(plan: Plan, cells: list[Cell]) -> list[list[float | None]]:
    """The number of every finished cell."""
    values: list[list[float | None]] = [[None] * len(plan.steps) for _ in plan.eps]
    for cell in cells:
        read = distance_of(cell.metrics)
        values[cell.row][cell.column] = None if read is None else read.after
    return values


def labels(plan: Plan) -> tuple[list[str], list[str]]:
    return [f"eps {one:g}" for one in plan.eps], [f"N = {many}" for many in plan.steps]
