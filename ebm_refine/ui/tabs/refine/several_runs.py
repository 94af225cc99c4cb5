"""Several runs of one model on the same seeds: one after the other, or advanced in turns so that all end together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from ebm_refine import pipeline, render
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points
from ebm_refine.result import Frame, RefineResult, picture
from ebm_refine.settings import Settings
from ebm_refine.utils.timing import timed


@dataclass
class OneRun:
    """Where one of them is: the share that is done, the seconds that it took so far and a step each, and its end."""

    settings: Settings
    items: Iterator[tuple[Frame | RefineResult, float]]
    progress: float = 0.0
    seconds: float = 0.0
    step_seconds: tuple[float, ...] = ()
    result: RefineResult | None = None


def several(
    checkpoint: Checkpoint, settings: Sequence[Settings], device: str, in_turns: bool = False
) -> Iterator[tuple[int, OneRun, Frame | RefineResult]]:
    """Yield (number, its run, news) for every transition and every end. `in_turns`: whichever is less far goes next."""
    runs = [OneRun(one, timed(pipeline.run(checkpoint, one, device))) for one in settings]
    while waiting := [number for number, run in enumerate(runs) if run.result is None]:
        number = min(waiting, key=lambda one: runs[one].progress) if in_turns else waiting[0]
        run = runs[number]
        item, seconds = next(run.items)
        run.seconds += seconds
        if isinstance(item, RefineResult):
            run.result = item
        else:
            run.progress = item.step / item.n_steps
            run.step_seconds += (seconds,) if item.step else ()
        yield number, run, item


def drawn(checkpoint: Checkpoint, samples: Tensor, width: int) -> Image.Image:
    """A plot of points, or a grid of images, about `width` pixels wide."""
    if is_points(checkpoint.config):
        return picture(checkpoint.config, samples).resize((width, width))
    return render.grid(samples, scale=render.scale_for(samples, width))
