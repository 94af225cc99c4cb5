"""A run of the 2-D laboratory: raw values checked, the pipeline streamed in the background, and what the plane shows of it."""

import math
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any, NamedTuple

from torch import Tensor

from ebm_refine import pipeline
from ebm_refine.catalogue import ModelInfo
from ebm_refine.errors import InputError
from ebm_refine.metrics.points import REFERENCE_SEED, compare_points
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points
from ebm_refine.parameters import listed, shorten
from ebm_refine.result import Frame, RefineResult, decode
from ebm_refine.samplers.loop import MAX_FRAMES
from ebm_refine.settings import Settings
from ebm_refine.toy2d.datasets import load_points
from ebm_refine.toy2d.landscape import Landscape, landscape, windows
from ebm_refine.ui.components.plane_view import scene, window
from ebm_refine.ui.runtime.background import bounded
from ebm_refine.ui.runtime.model_cache import cached_model
from ebm_refine.ui.tabs.refine import job as running

LANE = "laboratory"
LIVE_EVERY = 0.4
# Particles and data points that the browser draws; the numbers are of all.
SHOWN, DATA_SHOWN = 300, 600


class LiveScene(NamedTuple):
    """A moment of a running chain: the pipeline's frame, and what the plane shows of it."""

    frame: Frame
    view: str


class FinishedScene(NamedTuple):
    """The end of a run: its film, its numbers, and the points themselves."""

    view: str
    metrics: dict[str, Any]
    before: Tensor
    after: Tensor
    seconds: float


def toy_models() -> dict[str, ModelInfo]:
    """The embedded models of points in the plane, by name."""
    return {
        name: model for name, model in running.refinable_models().items() if is_points(model.config) and model.shape == (2,)
    }


def toy_named(name: Any) -> ModelInfo:
    """Raises InputError where no such model of points is embedded."""
    models = toy_models()
    if not isinstance(name, str) or name not in models:
        raise InputError(f"model must be one of {listed(models) or '(none embedded)'}; got {shorten(name)}")
    return models[name]


def checked(model: Any, arguments: dict[str, Any]) -> Settings:
    """The settings that these raw values make for a toy model, within the page's limits. Raises InputError."""
    return running.checked(toy_named(model).name, arguments)


def run(model: Any, arguments: dict[str, Any]) -> Generator[LiveScene | FinishedScene | None, None, None]:
    """Yield live moments a few times a second, then the end; None at least every fifth of a second. Close it to stop.

    Raises InputError for bad values, and for a run that takes too long.
    """
    settings = checked(model, arguments)
    with closing(bounded(lambda: _work(settings))) as news:
        yield from news


def _work(settings: Settings) -> Generator[LiveScene | FinishedScene, None, None]:
    began, shown = time.monotonic(), 0.0
    checkpoint = cached_model(settings.model)
    grounds = [landscape(checkpoint, name, settings.ratio, settings.beta) for name in windows(checkpoint)]
    result: Any = None
    recorded = Recorded()
    for result in pipeline.run(checkpoint, settings):
        if not isinstance(result, Frame):
            break
        recorded.add(result)
        if result.step == 0 or time.monotonic() - shown >= LIVE_EVERY:
            yield LiveScene(result, film(checkpoint, settings, grounds, [result]))
            shown = time.monotonic()
    assert isinstance(result, RefineResult)
    view = film(checkpoint, settings, grounds, recorded.frames())
    measured = compare_points(result.before, result.after, checkpoint.config["data"]["dataset"])
    metrics = {"settings": settings.as_dict(), "diagnostics": result.diagnostics, **measured}
    yield FinishedScene(view, metrics, result.before, result.after, time.monotonic() - began)


class Recorded:
    """Frames at equal distances, both ends among them, of a run of unknown length: every second one goes when it is long.

    The pipeline's own frames are spread over the steps that were asked for, of which a rejection sampler may need but a few.
    """

    def __init__(self, most: int = MAX_FRAMES):
        self.most, self.stride = most, 1
        self.cached_model: list[Frame] = []
        self.last: Frame | None = None

    def add(self, frame: Frame) -> None:
        self.last = frame
        if frame.step % self.stride:
            return
        self.cached_model.append(frame)
        if len(self.cached_model) > self.most:
            self.cached_model, self.stride = self.cached_model[::2], 2 * self.stride

    def frames(self) -> list[Frame]:
        ends = [self.last] if self.last is not None and self.last is not self.cached_model[-1] else []
        return self.cached_model + ends


def film(checkpoint: Checkpoint, settings: Settings, grounds: list[Landscape], frames: list[Frame]) -> str:
    """What the plane shows of recorded frames: in every window its ground, the particles and what was offered to them."""
    data = load_points(checkpoint.config["data"]["dataset"], DATA_SHOWN, REFERENCE_SEED)
    latents = [frame.positions[:SHOWN] for frame in frames]
    offers = [
        None if frame.proposals is None or frame.taken is None else (frame.proposals[:SHOWN], frame.taken[:SHOWN])
        for frame in frames
    ]

    def decoded(positions: Tensor) -> Tensor:
        return decode(checkpoint, settings, positions)

    panes = []
    for ground in grounds:
        if ground.window == "latent":
            panes.append(window(ground, latents, proposals=offers))
        else:
            outside = [None if one is None else (decoded(one[0]), one[1]) for one in offers]
            panes.append(window(ground, [decoded(positions) for positions in latents], data, outside))
    what = f"{settings.model}, {settings.method}, seed {settings.seed}"
    return scene(panes, [frame.step for frame in frames], f"Particles of {what}")


def ground_as_json(ground: Landscape) -> dict[str, Any]:
    """A landscape as plain values; what is not a finite number is null, as JSON has no other word for it."""
    return {
        "window": ground.window,
        "quantity": ground.quantity,
        "bounds": list(ground.bounds),
        "energy": _finite(ground.energy.tolist()),
        "field": _finite(ground.field.tolist()),
    }


def _finite(values: Any) -> Any:
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return values if math.isfinite(values) else None
