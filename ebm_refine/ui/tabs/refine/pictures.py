"""Looking at a finished run: the grids in some order, one image's film and numbers, the curves. Pure functions of a record."""

from typing import NamedTuple

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from ebm_refine import render
from ebm_refine.errors import InputError
from ebm_refine.parameters import Parameter
from ebm_refine.ui.tabs.refine.job import WATCHED, Record, film_samples, thinned

GRID_WIDTH = 560
CAPTION_WIDTH = 30
# Images on each side of the view of best and worst.
EXTREMES = 8
ORDERS = (
    "as drawn",
    "energy after: lowest first",
    "energy after: highest first",
    "energy change: largest fall first",
)
# A film is one file; its frames are small, and the browser enlarges them.
FILM_FRAMES, FILM_QUALITY = 30, 78
FILM_PLOT_SIDE = 240


class Sheets(NamedTuple):
    """Both grids in one order; `numbers[k]` is the sample that lies at tile k of `layout`. Of points plots, without tiles."""

    before: Image.Image
    after: Image.Image
    numbers: list[int]
    layout: render.Layout | None


def sheets(record: Record, order: str = ORDERS[0], captions: bool = False, most: int = WATCHED) -> Sheets:
    """The grids of a run's first `most` images in an order, pairs at the same position; the browser enlarges them.

    Captions are the log ratio r, or the energy where there is no r.
    """
    numbers = _ordered(record, order)
    if record.bounds:
        plots = [render.scatter(one, record.bounds) for one in (record.before, record.after)]
        return Sheets(plots[0], plots[1], numbers.tolist(), None)
    numbers = numbers[:most]
    before, after = record.before[numbers], record.after[numbers]
    if not captions:
        return Sheets(render.grid(before), render.grid(after), numbers.tolist(), render.grid_layout(before))
    # Words need pixels of their own.
    scale = max(2, -(-CAPTION_WIDTH // before.shape[3]))
    values = [_values(record, "before"), _values(record, "after")]
    texts = [[f"{float(value):+.2f}" for value in one[numbers]] for one in values]
    pictures = [render.captioned(images, text, scale) for images, text in zip((before, after), texts, strict=True)]
    return Sheets(pictures[0], pictures[1], numbers.tolist(), render.captioned_layout(before, scale))


def extremes(record: Record) -> Image.Image:
    """The images of highest log ratio after the chain, or lowest energy, above those at the other end, each with its value.

    Of points the plot, in which no single one stands out.
    """
    if record.bounds:
        return render.scatter(record.after, record.bounds)
    values = _values(record, "after")
    order = (values if record.ratio_after is None else -values).argsort()
    count = min(EXTREMES, -(-len(order) // 2))
    shown = torch.cat([order[:count], order[-count:]])
    scale = max(1, -(-CAPTION_WIDTH // record.after.shape[3]), GRID_WIDTH // (count * (record.after.shape[3] + 1)))
    return render.captioned(record.after[shown], [f"{float(value):+.2f}" for value in values[shown]], scale, count)


def film_pictures(record: Record) -> tuple[list[Image.Image], list[int]]:
    """The recorded frames of the first samples, or of all points, with their steps."""
    if record.bounds:
        samples, steps = film_samples(record, 0, record.positions.shape[1], FILM_FRAMES)
        return [render.scatter(points, record.bounds, FILM_PLOT_SIDE) for points in samples], steps
    samples, steps = film_samples(record, 0, WATCHED, FILM_FRAMES)
    return [render.grid(images) for images in samples], steps


def tile_pictures(record: Record, number: int) -> tuple[list[Image.Image], list[int]]:
    """The film of one image; of images beyond the recorded chains only before and after."""
    recorded = number < record.positions.shape[1]
    if record.bounds and recorded:
        samples, steps = film_samples(record, 0, record.positions.shape[1], FILM_FRAMES)
        return [render.scatter(points, record.bounds, FILM_PLOT_SIDE, number) for points in samples], steps
    if record.bounds:
        pictures = [render.scatter(points, record.bounds, mark=number) for points in (record.before, record.after)]
        return pictures, [record.steps[0], record.steps[-1]]
    if recorded:
        samples, steps = film_samples(record, number, number + 1, FILM_FRAMES)
        return [render.grid(images) for images in samples], steps
    return [_tile(record.before[number]), _tile(record.after[number])], [record.steps[0], record.steps[-1]]


def film_steps(record: Record, number: int | None = None) -> list[int]:
    """The steps of the frames that `film_pictures` makes, or `tile_pictures` of one image: known before they are made."""
    if number is None or number < record.positions.shape[1]:
        return thinned(record.film_steps, FILM_FRAMES)
    return [record.steps[0], record.steps[-1]]


def strip_bytes(pictures: list[Image.Image]) -> bytes:
    """A film as one small file: frames one below the other."""
    return render.webp(render.strip(pictures), FILM_QUALITY)


def tile_number(record: Record | None, value: object) -> int:
    """The image's number, checked. Raises InputError, one sentence."""
    if record is None:
        raise InputError("there is no finished run to look into; press Run")
    row = Parameter("image number", "int", 0, 0, len(record.before) - 1)
    return row.given(value)


def tile_words(record: Record, number: int) -> str:
    """One image's energy and log ratio before and after, in words."""
    words = f"Image {number}: energy {record.energy_before[number]:.2f} → {record.energy_after[number]:.2f}"
    if record.ratio_before is not None and record.ratio_after is not None:
        words += f", log ratio r {record.ratio_before[number]:+.2f} → {record.ratio_after[number]:+.2f}"
    return words


def energy_frame(record: Record) -> pd.DataFrame:
    return pd.DataFrame(render.energy_table(record.energies, record.steps), columns=["step", "energy", "series"])


def tile_frame(record: Record, number: int) -> pd.DataFrame:
    """One chain's energy at the recorded steps."""
    return pd.DataFrame({"step": record.steps, "energy": record.energies[:, number].tolist()})


def ratio_frame(record: Record, number: int) -> pd.DataFrame | None:
    """Its log ratio, or None where that was not recorded: beyond the first chains, at beta = 0, and for models without r."""
    if number >= record.ratios.shape[1] or not bool(record.ratios[:, number].isfinite().all()):
        return None
    return pd.DataFrame({"step": record.steps, "log ratio r": record.ratios[:, number].tolist()})


def _ordered(record: Record, order: str) -> Tensor:
    if order == ORDERS[1]:
        return record.energy_after.argsort()
    if order == ORDERS[2]:
        return record.energy_after.argsort(descending=True)
    if order == ORDERS[3]:
        return (record.energy_after - record.energy_before).argsort()
    return torch.arange(len(record.before))


def _values(record: Record, when: str) -> Tensor:
    ratio, energy = (
        (record.ratio_before, record.energy_before) if when == "before" else (record.ratio_after, record.energy_after)
    )
    return energy if ratio is None else ratio


def _tile(image: Tensor) -> Image.Image:
    return render.grid(image[None])
