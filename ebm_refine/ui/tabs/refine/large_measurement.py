"""The same settings on many more images: enough for a Fréchet distance, with its floor, while the visitor waits or stops it."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import gradio as gr

from ebm_refine import pipeline
from ebm_refine.errors import InputError
from ebm_refine.result import Frame, RefineResult
from ebm_refine.settings import Settings
from ebm_refine.ui.components.html_table import interval, number, panel, percent, small
from ebm_refine.ui.components.run_bar import RunBar
from ebm_refine.ui.components.status_line import progress
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.background import bounded
from ebm_refine.ui.runtime.model_cache import cached_model
from ebm_refine.ui.runtime.zero_gpu import borrows_gpu
from ebm_refine.ui.tabs.refine import evidence
from ebm_refine.ui.tabs.refine.job import Record, device, measured, user_errors

# A Fréchet distance needs ten times the features' dimension.
IMAGES_A_DIMENSION = 10
# What may well take too long is not offered: the machine may be busier than it was during the run.
LIKELY = 0.75


def images_needed(record: Record) -> int | None:
    """How many images a Fréchet distance of this run's model needs; None where there is none for it."""
    dimension = record.metrics.get("dimension")
    return None if record.bounds or dimension is None else IMAGES_A_DIMENSION * dimension


def run(settings: Settings, count: int) -> Generator[float | dict[str, Any] | None, None, None]:
    """Yield the share of the steps that is done, then the report on `count` images. Raises InputError if it takes too long."""
    with closing(bounded(lambda: _work(replace(settings, num_images=count)))) as news:
        yield from news


@borrows_gpu
def _work(settings: Settings) -> Generator[float | dict[str, Any], None, None]:
    checkpoint, result = cached_model(settings.model), None
    for result in pipeline.run(checkpoint, settings, device()):
        if isinstance(result, Frame):
            yield result.step / result.n_steps
    assert isinstance(result, RefineResult)
    yield measured(checkpoint, result.before, result.after)


class LargeMeasurement:
    """Button, Stop and the answer, laid out where this is made; `record` is the state that holds the run."""

    def __init__(self, record: gr.State):
        self.bar = RunBar("measure", "Measure on many more images", visible=False)
        self.said = self.bar.status
        self.bar.runs(self._measure, [record], [])

    @property
    def outputs(self) -> list[Any]:
        """What a finished run fills."""
        return [self.bar.start, self.bar.stop, self.said]

    def offered(self, record: Record) -> dict[Any, Any]:
        """Updates after a run: how many images, and about how long it takes."""
        count, label, offered = images_needed(record), "", False
        if count is not None and count > len(record.before):
            about = max(2, round(record.seconds * count / len(record.before)))
            label = f"Measure on {count:,} images (about {about} s)"
            offered = about <= LIKELY * limits.MAX_SECONDS
        start = gr.update(visible=offered, value=label)
        return {self.bar.start: start, self.bar.stop: gr.update(visible=offered), self.said: ""}

    def _measure(self, record: Record | None) -> Iterator[dict[Any, Any]]:
        began, share = time.monotonic(), 0.0
        with user_errors():
            count = images_needed(record) if record is not None else None
            if record is None or count is None:
                raise InputError("there is no finished run to measure; press Run")
            yield {self.said: _progress(0.0, 0.0)}
            with closing(run(record.settings, count)) as news:
                for item in news:
                    if isinstance(item, dict):
                        yield {self.said: as_html(item, record.settings)}
                        return
                    share = share if item is None else item
                    yield {self.said: _progress(share, time.monotonic() - began)}


def as_html(report: dict[str, Any], settings: Settings) -> str:
    """The Fréchet distance before and after, the distance of real images from real ones, and the kernel distance's change."""
    if "frechet_distance" not in report:
        return small(report.get("note", report.get("frechet_note", "nothing was measured")))
    frechet, difference = report["frechet_distance"], report["kernel_distance"]["difference"]
    low, high = difference["interval"]
    certain = "below 0, so better" if high < 0 else "above 0, so worse" if low > 0 else "on both sides of 0, so open"
    found = evidence.Evidence(
        before=frechet["before"], after=frechet["after"], error=None, real=report["floors"].get("frechet_mean"),
        num_images=report["num_images"], seeds=1, title=report["title"], split=report["reference"]["split"],
        shared_kind=evidence.shares_kind(settings),
    )  # fmt: skip
    words = f"Change of the kernel distance: {number(difference['value'])} (95 % interval {interval(low, high)}: {certain})."
    return panel(evidence.as_html(found, "Measured just now"), small(words))


def _progress(share: float, seconds: float) -> str:
    return progress(f"Measuring · {percent(share)} · {seconds:.0f} s", share)
