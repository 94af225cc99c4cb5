"""From raw values to a run: check them, stream the pipeline in the background, and keep of its result what the page shows."""

import html
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import gradio as gr
import torch
from PIL import Image
from torch import Tensor

from ebm_refine import pipeline
from ebm_refine.catalogue import ModelInfo
from ebm_refine.errors import InputError
from ebm_refine.evaluation.run_time import run_time
from ebm_refine.metrics.ratio_spread import spread_entry
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points
from ebm_refine.parameters import listed, shorten
from ebm_refine.result import Frame, RefineResult, decode, picture
from ebm_refine.samplers import METHODS
from ebm_refine.settings import Settings, resolve
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.background import bounded
from ebm_refine.ui.runtime.model_cache import cached_model, known_models
from ebm_refine.ui.runtime.zero_gpu import borrows_gpu
from ebm_refine.utils.timing import ess_per_second, timed

LIVE_EVERY = 0.2
# The first chains are what a visitor watches, and what the film shows.
WATCHED = 16
# The recorded positions stay in memory while the visitor looks at them.
STORED_BYTES = 16_000_000
FIRST = "mnist-gan"
# How many images the page begins with, by data set: as many as a verdict needs. Where they would take longer than so many
# seconds, there are fewer, so that no visitor meets the limit of a run, even on a loaded machine; but so many at least.
IMAGES = {"mnist": 256, "cifar10": 128}
OPENING_SECONDS, LEAST_IMAGES = 15.0, 16
T = TypeVar("T")


class Live(NamedTuple):
    """A moment of a running chain: the pipeline's frame, a picture of its first samples, and the model's name."""

    frame: Frame
    picture: Image.Image
    model: str


class Record(NamedTuple):
    """What stays of a run for its visitor: small, on the CPU, no networks.

    Samples are images uint8 (N, C, H, W) or points float32 (N, 2), which lie within `bounds` or have run away from there; of
    images `bounds` is None. `positions` (F, K, …) are those of the first K chains at `film_steps`, whose images are made when
    somebody asks for the film; `energies` (frames, N) and `ratios` (frames, K <= 64) belong to `steps`, as do the shares
    `accepted` and the mean `gradient_norms`, NaN where the method uses no gradient. `metrics` is what `/refine` returns; clocks
    are not in it.
    """

    settings: Settings
    before: Tensor
    after: Tensor
    energy_before: Tensor
    energy_after: Tensor
    ratio_before: Tensor | None
    ratio_after: Tensor | None
    steps: list[int]
    energies: Tensor
    ratios: Tensor
    accepted: list[float]
    gradient_norms: list[float]
    ess_per_second: float | None
    positions: Tensor
    film_steps: list[int]
    metrics: dict[str, Any]
    seconds: float
    bounds: tuple[float, float] | None = None


class Finished(NamedTuple):
    """The end of a run: its record, and the zipped files, which lie there until the stream is closed."""

    record: Record
    bundle: Path


def refinable_models() -> dict[str, ModelInfo]:
    """The embedded models that some method can refine, by name."""
    return {model.name: model for model in known_models() if model.methods}


def first_model() -> str:
    """The model that the page opens with: one whose improvement shows within seconds, or else the first there is."""
    models = refinable_models()
    return FIRST if FIRST in models else next(iter(models))


def opening(name: str, arguments: dict[str, Any] | None = None) -> Settings:
    """What the page shows of a model first, or of it with these arguments: the settings with as many images as a verdict needs.

    They are fewer where the page allows no more, or where they would take longer than seconds. Raises InputError.
    """
    info, given = model_named(name), arguments or {}
    if is_points(info.config):
        return checked(name, given)
    settings = resolve(info.name, info.config, **given)
    most = int(limits.most_work(settings) / (max(settings.n_steps, 1) * limits.step_price(settings)))
    # The page's first model was chosen because its run is short; an estimate would load it, and the page's start is short, too.
    if METHODS[settings.method].cost is not None and (given or name != FIRST):
        within = run_time(cached_model(name), settings).images_within(OPENING_SECONDS)
        most = min(most, max(within, LEAST_IMAGES))
    wanted = IMAGES.get(info.dataset, settings.num_images)
    return checked(name, {**given, "num_images": max(1, min(wanted, most // 16 * 16))})


def model_named(name: Any) -> ModelInfo:
    """The embedded model of that name; paths and Hub ids are for the library, not for visitors."""
    models = refinable_models()
    if not isinstance(name, str) or name not in models:
        raise InputError(f"model must be one of {listed(models) or '(none embedded)'}; got {shorten(name)}")
    return models[name]


def checked(model: Any, arguments: dict[str, Any]) -> Settings:
    """The settings that these raw values make, within the page's limits. Raises InputError."""
    info = model_named(model)
    within = limits.check_points if is_points(info.config) else limits.check
    return within(resolve(info.name, info.config, **arguments))


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def run(model: Any, arguments: dict[str, Any]) -> Generator[Live | Finished | None, None, None]:
    """Yield live moments about ten times a second, then the end; None at least every fifth of a second. Close it to stop.

    Raises InputError for bad values, and for a run that takes too long.
    """
    settings = checked(model, arguments)
    with (
        TemporaryDirectory(prefix="refine-", ignore_cleanup_errors=True) as folder,
        closing(bounded(lambda: _work(settings, folder))) as news,
    ):
        yield from news


@contextmanager
def user_errors() -> Iterator[None]:
    """Errors in a visitor's input become one sentence on the page and in the API, escaped as HTML."""
    try:
        yield
    except InputError as error:
        # Gradio shows messages as HTML; quotes stay as they are, so that API callers read the same words.
        raise gr.Error(html.escape(str(error), quote=False), print_exception=False) from None
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        raise gr.Error("the device has not enough memory for this; lower num_images", print_exception=False) from None
    except gr.Error:
        raise
    except Exception as error:  # a bug: the caller gets a general message, the log the details
        raise gr.Error("the run failed because of a bug in this program; see its log") from error


@borrows_gpu
def _work(settings: Settings, folder: str) -> Generator[Live | Finished, None, None]:
    began, shown, where = time.monotonic(), 0.0, device()
    checkpoint = cached_model(settings.model)
    result: Any = None
    step_seconds: list[float] = []
    for result, seconds in timed(pipeline.run(checkpoint, settings, where)):
        if isinstance(result, Frame) and result.step:
            step_seconds.append(seconds)
        if isinstance(result, Frame) and (result.step == 0 or time.monotonic() - shown >= LIVE_EVERY):
            watched = len(result.positions) if is_points(checkpoint.config) else WATCHED
            samples = decode(checkpoint, settings, result.positions[:watched], where)
            yield Live(result, picture(checkpoint.config, samples), settings.model)
            shown = time.monotonic()
    assert isinstance(result, RefineResult)
    positions, film_steps = _recorded(result)
    measures = measured(checkpoint, result.before, result.after)
    metrics = {"settings": result.settings.as_dict(), "diagnostics": result.diagnostics, **measures}
    metrics |= _judged(checkpoint, result) | spread_entry(checkpoint, result.before, result.after, result.settings.ratio)
    record = Record(
        settings=result.settings,
        before=result.before,
        after=result.after,
        energy_before=result.energy_before,
        energy_after=result.energy_after,
        ratio_before=result.ratio_before,
        ratio_after=result.ratio_after,
        steps=result.trace_steps,
        energies=result.energy_trace,
        ratios=torch.stack([frame.ratio for frame in result.frames]),
        accepted=[frame.accepted for frame in result.frames],
        gradient_norms=[frame.gradient_norm for frame in result.frames],
        ess_per_second=ess_per_second(result.diagnostics, step_seconds),
        positions=positions,
        film_steps=film_steps,
        metrics=metrics,
        seconds=time.monotonic() - began,
        bounds=tuple(checkpoint.config["data"]["range"]) if is_points(checkpoint.config) else None,
    )
    yield Finished(record, _bundle(result, metrics, Path(folder)))


def _recorded(result: RefineResult) -> tuple[Tensor, list[int]]:
    """The positions of the recorded frames, thinned where they would take too much memory; both ends stay."""
    a_frame = result.frames[0].positions.numel() * 4
    frames = thinned(result.frames, max(2, STORED_BYTES // a_frame))
    return torch.stack([frame.positions for frame in frames]), [frame.step for frame in frames]


def film_samples(record: Record, first: int, last: int, most_frames: int) -> tuple[Tensor, list[int]]:
    """Samples `first` to `last`, left out, at up to `most_frames` recorded steps (F, last - first, …), and those steps."""
    checkpoint = cached_model(record.settings.model)
    frames = thinned(list(zip(record.positions, record.film_steps, strict=True)), most_frames)
    # From the first chain on, as a chain's label depends on its number.
    images = [decode(checkpoint, record.settings, positions[:last])[first:] for positions, _ in frames]
    return torch.stack(images), [step for _, step in frames]


def measured(checkpoint: Checkpoint, before: Tensor, after: Tensor) -> dict[str, Any]:
    """The report of the metrics on samples of a model, or a note why there is none."""
    dataset = checkpoint.config["data"]["dataset"]
    # Imported here: torchmetrics takes seconds that the page should not wait for.
    from ebm_refine.metrics.features import features_for
    from ebm_refine.metrics.points import compare_points
    from ebm_refine.metrics.report import compare

    try:
        if is_points(checkpoint.config):
            return compare_points(before, after, dataset)
        return compare(before, after, features_for(dataset))
    except InputError as error:
        return {"note": str(error)}


def _judged(checkpoint: Checkpoint, result: RefineResult) -> dict[str, Any]:
    """What two kinds of encoders say that the method does not use; nothing where the data set has no such kinds."""
    from ebm_refine.metrics.live_verdict import live_verdict

    try:
        return {"verdict": live_verdict(result.before, result.after, checkpoint.config, result.settings.ratio).as_dict()}
    except InputError:
        return {}


def _bundle(result: RefineResult, metrics: dict[str, Any], folder: Path) -> Path:
    """The result's files in one zip; the same run gives the same bytes."""
    saved = result.save(folder / "files", {name: value for name, value in metrics.items() if name != "diagnostics"})
    path = folder / f"{result.settings.model}-{result.settings.method}-seed{result.settings.seed}.zip"
    with ZipFile(path, "w", ZIP_STORED) as archive:
        for file in sorted(saved.iterdir()):
            archive.writestr(ZipInfo(file.name, date_time=(1980, 1, 1, 0, 0, 0)), file.read_bytes())
    return path


def thinned(items: list[T], most: int) -> list[T]:
    """At most `most` of the items, evenly spread, both ends among them."""
    if len(items) <= most:
        return items
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]
