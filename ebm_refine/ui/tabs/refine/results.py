"""What the Demo page shows of a run: verdict and evidence, the stage with grids and film, then numbers and files."""

import html
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from ebm_refine import render
from ebm_refine.models.kinds import law_of
from ebm_refine.settings import Settings
from ebm_refine.ui.components.evidence_curves import curves_html
from ebm_refine.ui.components.film_player import film, player
from ebm_refine.ui.components.html_table import verdict as verdict_html
from ebm_refine.ui.components.line_chart import line_chart
from ebm_refine.ui.components.picture_view import picture_view
from ebm_refine.ui.components.run_bar import LOOK, PRIVATE
from ebm_refine.ui.components.stage import Shown, Strip, running, stage, view
from ebm_refine.ui.components.status_line import idle, progress_line
from ebm_refine.ui.runtime.pictures import SHELF
from ebm_refine.ui.tabs.refine import chain_panel, evidence, share_link
from ebm_refine.ui.tabs.refine import memorisation_panel as copies
from ebm_refine.ui.tabs.refine import metrics_panel as panel
from ebm_refine.ui.tabs.refine.job import WATCHED, Live, Record, model_named, user_errors
from ebm_refine.ui.tabs.refine.large_measurement import LargeMeasurement
from ebm_refine.ui.tabs.refine.pictures import (  # fmt: skip
    ORDERS,
    Sheets,
    energy_frame,
    extremes,
    film_pictures,
    film_steps,
    ratio_frame,
    sheets,
    strip_bytes,
    tile_frame,
    tile_number,
    tile_pictures,
    tile_words,
)

# A visitor's record is a few megabytes; it is forgotten when they have been away.
KEEP_SECONDS = 1800
# What chains begin with, by the law that is sampled.
BEFORE = {
    "pair": "Before: the generator alone",
    "joint": "Before: the generator alone",
    "energy": "Before: the noise in which the chains begin",
    "rbm": "Before: the random bits in which the chains begin",
    "dbn": "Before: the pictures of the random bits in which the chains begin",
}
EXTREMES = "Most realistic (above) and least realistic (below), according to the score r"
LIVE_QUALITY = 80
_TO_ONE_IMAGE = "() => page.reveal('#one-image')"


class Results:
    """The components that show a run, laid out where this is made, and the updates that fill them."""

    def __init__(self, status: gr.HTML, data: str | None = None, first: dict[str, Any] | None = None) -> None:
        """`status`: the run's line, laid out here. `data`: folder of the data from which nearest training images are shown.
        `first`: a result that is shown at once."""
        self.data = data
        self.record = gr.State(None, time_to_live=KEEP_SECONDS)
        self.query = gr.Textbox(visible=False)
        self.status = status.render()
        self.verdict = gr.HTML(first["verdict"] if first else "", elem_id="numbers")
        self.stage = stage(first["stage"] if first else None)
        with gr.Column(visible=False, elem_id="results") as self.finished:
            with gr.Row(equal_height=True, elem_id="viewing"):
                self.order = gr.Dropdown(
                    list(ORDERS), value=ORDERS[0], label="Order of the images", elem_id="order", min_width=200
                )
                self.captions = gr.Checkbox(label="Show the score r under each image", elem_id="captions", min_width=220)
                self.all = gr.Checkbox(label="Show all images", elem_id="all-images", min_width=180)
            with gr.Tabs(elem_classes="address-tabs") as self.tabs:
                with gr.Tab("Numbers", id="numbers"):
                    self.large = LargeMeasurement(self.record)
                    self.numbers = gr.HTML(elem_id="measured")
                    self.plot = line_chart(
                        "step", "energy", "Energy along the chains: not quality", "energy-plot", "series", 260
                    )  # fmt: skip
                with gr.Tab("One image", id="one", elem_id="one-image"):
                    self.number = gr.Textbox(
                        "0", label="Image number", info="or click an image above", max_lines=1, elem_id="tile-number"
                    )
                    self.words = gr.Markdown(elem_id="tile-words")
                    self.copied = gr.HTML(elem_id="tile-copied")
                    with gr.Row():
                        self.tile_film = player(elem_id="tile-film", min_width=260)
                        self.tile_energy = _curve("energy", "Its energy", "tile-energy")
                        self.tile_ratio = _curve("log ratio r", "Its score r", "tile-ratio")
                with gr.Tab("Most and least realistic", id="extremes") as self.extremes_tab:
                    self.extremes = picture_view(elem_id="extremes")
                with gr.Tab("The chain", id="chain"):
                    self.chain = gr.HTML(elem_id="chain")
                    with gr.Row():
                        self.accepted = _curve("share accepted", "Share of proposals accepted", "accepted-plot")
                        self.gradient = _curve("gradient", "Mean length of the gradient", "gradient-plot")
                with gr.Tab("Files and code", id="files"):
                    self.files = gr.HTML(elem_id="files", elem_classes="panel")
                    with gr.Row(equal_height=True):
                        self.kind = gr.Radio([kind.upper() for kind in render.ANIMATIONS], value="WEBP", label="Animation")
                        self.animate = gr.Button("Make the animation", elem_id="animate")
                        self.animation = gr.DownloadButton("Save the animation", visible=False, elem_id="animation")
        self._wire()

    @property
    def streamed(self) -> list[Any]:
        """What changes while a chain runs."""
        return [self.record, self.status, self.verdict, self.stage, self.finished, self.files]

    @property
    def outputs(self) -> list[Any]:
        """What is filled once a run's verdict and pictures are there."""
        return [self.query, self.finished, self.order, self.captions, self.all, self.tabs,
                self.numbers, self.plot, self.number, self.words, self.copied, self.tile_film, self.tile_energy,
                self.tile_ratio, self.extremes, self.chain, self.accepted, self.gradient, self.animation,
                *self.large.outputs]  # fmt: skip

    def live(self, moment: Live, seconds: float, before: Shown | None) -> tuple[dict[Any, Any], Shown]:
        """Updates for a moment of a running chain, and the picture of its beginning, which later moments are given."""
        source = SHELF.put(render.webp(moment.picture, LIVE_QUALITY))
        if before is None:
            title = BEFORE[law_of(model_named(moment.model).config)]
            before = Shown(source, title, f"Grid of samples: {title}")
        now = Shown(source, "Now", f"Grid of samples after {moment.frame.step} steps")
        return {self.status: progress_line(moment.frame, seconds), self.stage: running(before, now)}, before

    def waiting(self, moment: Live | None, seconds: float) -> dict[Any, Any]:
        """Updates for a heartbeat: the clock goes on."""
        return {self.status: progress_line(moment.frame, seconds) if moment else idle(f"Preparing … {seconds:.1f} s")}

    def done(self, record: Record, bundle: bytes) -> dict[Any, Any]:
        """The last updates of a run, the verdict and the pictures; what lies below them follows as `details`."""
        settings = record.settings
        text = f"{settings.num_images} images, {record.steps[-1]} steps in {record.seconds:.1f} s on {_what(record)}"
        eps = record.metrics["diagnostics"].get("eps")
        if settings.values.get("eps", 0) is None and eps is not None:
            text += f"; the step size was tuned to {eps:.3g}"
        name = f"{settings.model}-{settings.method}-seed{settings.seed}.zip"
        query = share_link.query_of(settings)
        files = (
            f"<p><a class='button' id='bundle' download='{html.escape(name)}' href='{SHELF.put(bundle, 'zip')}'>Download "
            f"everything</a> Pictures, arrays, settings and metrics, {len(bundle) / 1e6:.1f} MB.</p><p><a class='button' "
            f"id='to-code' href='code{html.escape(query)}'>Repeat this run from code</a> Python, command line, curl.</p>"
        )
        return {
            self.record: record,
            self.status: idle(text),
            self.verdict: verdict_of(settings, record.metrics),
            self.stage: stage_of(record, first=True),
            self.files: files,
        }

    def details(self, record: Record | None) -> Any:
        """Updates for what lies below a finished run's verdict and pictures."""
        if record is None:
            return {self.query: gr.skip()}
        return {
            self.query: share_link.query_of(record.settings),
            self.finished: gr.update(visible=True),
            self.order: ORDERS[0],
            self.captions: False,
            self.all: gr.update(value=False, label=f"Show all {len(record.before)} images", visible=_more(record)),
            self.tabs: gr.update(selected="numbers"),
            self.numbers: panel.as_html(record.metrics),
            self.plot: energy_frame(record),
            **self._tile(record, 0, False),
            self.number: gr.update(value="0", label=f"Image number, 0 to {len(record.before) - 1}"),
            self.extremes: _extremes(record),
            **self._chain(record),
            **self.large.offered(record),
            self.animation: gr.update(visible=False),
        }

    def _wire(self) -> None:
        arrangement = [self.record, self.order, self.captions, self.all]
        for control in (self.order, self.captions, self.all):
            control.input(self._arrange, arrangement, self.stage, **LOOK)
        looked = [self.words, self.copied, self.tile_film, self.tile_energy, self.tile_ratio]
        self.stage.select(self._clicked, arrangement, [self.number, self.tabs, *looked], **LOOK).success(
            None, None, None, js=_TO_ONE_IMAGE, **PRIVATE
        )
        self.number.submit(self._look, [self.record, self.number], looked, **LOOK)
        # Not "always_last": after an error Gradio 6.31.0 forgets what was typed meanwhile.
        self.number.input(self._look, [self.record, self.number], looked, trigger_mode="multiple", **LOOK)
        self.animate.click(self._animate, [self.record, self.kind], self.animation, **LOOK)

    def _arrange(self, record: Record | None, order: str, captions: bool, everything: bool) -> Any:
        return gr.skip() if record is None else stage_of(record, order, captions, everything)

    def _clicked(self, record: Record | None, order: str, captions: bool, everything: bool, event: gr.EventData) -> Any:
        index = event._data.get("index") if isinstance(event._data, dict) else None
        if record is None or not isinstance(index, int):
            return {self.number: gr.skip()}
        numbers = _sheets(record, order, captions, everything).numbers
        if not 0 <= index < len(numbers):
            return {self.number: gr.skip()}
        number = numbers[index]
        return {self.number: str(number), self.tabs: gr.update(selected="one"), **self._tile(record, number)}

    def _look(self, record: Record | None, value: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            return {self.words: gr.skip()}  # a field that is just being filled
        with user_errors():
            number = tile_number(record, value)
        assert record is not None
        return self._tile(record, number)

    def _tile(self, record: Record, number: int, chosen: bool = True) -> dict[Any, Any]:
        """Updates that show one image; its nearest training image only where a visitor chose it, as that is a search."""
        ratio = ratio_frame(record, number)
        return {
            self.words: tile_words(record, number),
            self.copied: copies.as_html(record, number, self.data) if chosen else "",
            self.tile_film: tile_film(record, number),
            self.tile_energy: tile_frame(record, number),
            self.tile_ratio: gr.update(value=ratio, visible=ratio is not None),
        }

    def _chain(self, record: Record) -> dict[Any, Any]:
        accepted, gradient = chain_panel.accepted_frame(record), chain_panel.gradient_frame(record)
        return {
            self.chain: chain_panel.as_html(record),
            self.accepted: gr.update(value=accepted, visible=accepted is not None),
            self.gradient: gr.update(value=gradient, visible=gradient is not None),
        }

    def _animate(self, record: Record | None, kind: str) -> Iterator[Any]:
        with user_errors():
            tile_number(record, "0")
        assert record is not None
        pictures, _ = film_pictures(record)
        scale = max(1, 528 // pictures[0].width)
        larger = [picture.resize((picture.width * scale, picture.height * scale), resample=0) for picture in pictures]
        kind = kind.lower() if kind.lower() in render.ANIMATIONS else render.ANIMATIONS[0]
        with TemporaryDirectory(prefix="refine-") as folder:
            path = Path(folder) / f"{record.settings.model}-{record.settings.method}.{kind}"
            path.write_bytes(render.animation(larger, kind))
            yield gr.update(value=str(path), visible=True, label=f"Save the animation ({path.stat().st_size // 1000} kB)")


def verdict_of(settings: Settings, metrics: dict[str, Any], more: str = "") -> str:
    """The verdict on these samples, the recorded measurement of the same settings beside it, and `more` HTML."""
    found = evidence.recorded(settings)
    kind, sentence = panel.verdict(metrics, bool(found))
    words = verdict_html(kind, sentence) + panel.who_says(metrics)
    recorded = evidence.as_html(found) + evidence.panel_html(settings) + curves_html(settings.model) + panel.how_far(metrics)
    return f"<div class='panel result'><div>{words}{more}</div><div>{recorded}</div></div>"


def stage_of(
    record: Record, order: str = ORDERS[0], captions: bool = False, everything: bool = False, first: bool = False
) -> str:
    """What the stage shows of a run: grids in an order, and the film, which is made when somebody looks at it."""
    both, what = _sheets(record, order, captions, everything), _what(record)
    title = BEFORE[law_of(model_named(record.settings.model).config)]
    before = Shown(SHELF.put(render.webp(both.before)), title, f"Grid of samples before refinement: {what}")
    after = Shown(SHELF.put(render.webp(both.after)), "After", f"Grid of samples after {record.steps[-1]} steps: {what}")
    strip = Strip(
        SHELF.promise(lambda: strip_bytes(film_pictures(record)[0])), film_steps(record), f"Film of the chains: {what}"
    )
    return view(before, after, both.layout, strip, "sides", first)


def tile_film(record: Record, number: int) -> str:
    """What the player shows of one image."""
    source = SHELF.promise(lambda: strip_bytes(tile_pictures(record, number)[0]))
    return film(source, film_steps(record, number), f"Film of image {number}")


def _what(record: Record) -> str:
    return f"{record.settings.model}, {record.settings.method}, seed {record.settings.seed}"


def _more(record: Record) -> bool:
    """Whether there are images beyond those that are shown first."""
    return not record.bounds and len(record.before) > WATCHED


def _sheets(record: Record, order: str, captions: bool, everything: bool) -> Sheets:
    return sheets(record, order, captions, len(record.before) if everything else WATCHED)


def _extremes(record: Record) -> str:
    source, title = SHELF.promise(lambda: render.webp(extremes(record))), html.escape(EXTREMES)
    return f"<figure><figcaption>{title}</figcaption><img src='{source}' alt='{title}'></figure>"


def _curve(of: str, title: str, name: str) -> gr.LinePlot:
    return line_chart("step", of, title, name, min_width=240)
