"""What the Refine tab shows of a run: live grids, then numbers, slider, film, single images and files."""

import html
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from ebm_refine import render
from ebm_refine.models.kinds import law_of
from ebm_refine.result import Frame
from ebm_refine.ui.components.film_player import film, player
from ebm_refine.ui.tabs.refine import chain_panel
from ebm_refine.ui.tabs.refine import memorisation_panel as copies
from ebm_refine.ui.tabs.refine import metrics_panel as panel
from ebm_refine.ui.tabs.refine.job import Finished, Live, Record, model_named, told
from ebm_refine.ui.tabs.refine.pictures import (  # fmt: skip
    ORDERS,
    energy_frame,
    extremes,
    film_pictures,
    ratio_frame,
    sheets,
    tile_frame,
    tile_number,
    tile_pictures,
    tile_words,
)

# A visitor's record is a few megabytes; it is forgotten when they have been away.
KEEP_SECONDS = 1800
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# What chains begin with, by the law that is sampled.
BEFORE = {
    "pair": "Before: the generator alone",
    "joint": "Before: the generator alone",
    "energy": "Before: the noise in which the chains begin",
    "rbm": "Before: the coin tosses in which the chains begin",
    "dbn": "Before: what lies below the coin tosses in which the chains begin",
}
EXTREMES = "What r takes for most real (above) and for least real (below), after the chain: its opinion, not quality"
# Looking at results computes little, so it does not wait in the queue behind other visitors' runs.
LOOK: dict[str, Any] = {**PRIVATE, "concurrency_limit": None}


class Results:
    """The components that show a run, laid out where this is made, and the updates that fill them."""

    def __init__(self, data: str | None = None) -> None:
        """`data`: folder of the data from which nearest training images are shown; None shows none."""
        self.data = data
        self.record = gr.State(None, time_to_live=KEEP_SECONDS)
        self.status = gr.HTML(idle("Choose a preset or move a slider, then press Run."), elem_id="status")
        with gr.Row():
            self.before = _picture(BEFORE["pair"], "before")
            self.after = _picture("After", "after")
        with gr.Column(visible=False, elem_id="results") as self.finished:
            with gr.Row(equal_height=True):
                self.order = gr.Dropdown(list(ORDERS), value=ORDERS[0], label="Order of the images", elem_id="order")
                self.captions = gr.Checkbox(
                    label="Write the log ratio r, or else the energy, under every image", elem_id="captions"
                )
            with gr.Row():
                with gr.Column(min_width=320):
                    self.numbers = gr.HTML(elem_id="numbers")
                with gr.Column(min_width=320):
                    self.plot = gr.LinePlot(
                        x="step", y="energy", color="series", title="Energy along the chains: not quality",
                        height=260, elem_id="energy-plot", buttons=[],
                    )  # fmt: skip
            with gr.Tabs():
                with gr.Tab("Film"):
                    self.film = player(elem_id="film")
                    with gr.Row(equal_height=True):
                        self.kind = gr.Radio([kind.upper() for kind in render.ANIMATIONS], value="WEBP", label="Animation")
                        self.animate = gr.Button("Make the animation", elem_id="animate")
                        self.animation = gr.DownloadButton("Save the animation", visible=False, elem_id="animation")
                with gr.Tab("Divider"):
                    self.slider = gr.ImageSlider(
                        label="Before (left) and after (right)", format="png", type="pil", interactive=False,
                        slider_position=50, elem_classes="pixel", elem_id="divider", max_height=640,
                        buttons=["download", "fullscreen"],
                    )  # fmt: skip
                with gr.Tab("One image", id="one"):
                    self.number = gr.Number(0, label="Image number", info="or click an image above", elem_id="tile-number")
                    self.words = gr.Markdown(elem_id="tile-words")
                    self.copied = gr.HTML(elem_id="tile-copied")
                    with gr.Row():
                        self.tile_film = player(elem_id="tile-film", min_width=260)
                        self.tile_energy = _curve("energy", "Its energy", "tile-energy")
                        self.tile_ratio = _curve("log ratio r", "Its log ratio r", "tile-ratio")
                with gr.Tab("Best and worst"):
                    self.extremes = gr.Image(
                        label=EXTREMES, format="png", type="pil", interactive=False, elem_id="extremes", elem_classes="pixel",
                        alt_text="The images of highest and lowest log ratio", buttons=["download", "fullscreen"],
                    )  # fmt: skip
                with gr.Tab("Chain"):
                    self.chain = gr.HTML(elem_id="chain")
                    with gr.Row():
                        self.accepted = _curve("share taken", "Share of proposals taken", "accepted-plot")
                        self.gradient = _curve("gradient", "Mean length of the gradient", "gradient-plot")
            self.bundle = gr.DownloadButton("Download everything (PNG, npz, settings, metrics)", elem_id="bundle")
        self._wire()

    @property
    def outputs(self) -> list[Any]:
        """All that a run fills."""
        return [self.record, self.status, self.before, self.after, self.finished, self.order, self.captions, self.numbers,
                self.plot, self.film, self.slider, self.number, self.words, self.copied, self.tile_film,
                self.tile_energy, self.tile_ratio, self.extremes, self.chain, self.accepted, self.gradient, self.animation,
                self.bundle]  # fmt: skip

    def live(self, moment: Live, seconds: float) -> dict[Any, Any]:
        """Updates for a moment of a running chain; the images before are sent once."""
        picture = moment.picture
        now = gr.update(value=picture, label="Now")
        updates: dict[Any, Any] = {self.status: progress_line(moment.frame, seconds), self.after: now}
        if moment.frame.step == 0:
            before = gr.update(value=picture, label=BEFORE[law_of(model_named(moment.model).config)])
            updates |= {self.before: before, self.finished: gr.update(visible=False)}
        return updates

    def waiting(self, moment: Live | None, seconds: float) -> dict[Any, Any]:
        """Updates for a heartbeat: the clock goes on."""
        return {self.status: progress_line(moment.frame, seconds) if moment else idle(f"Preparing … {seconds:.1f} s")}

    def end(self, end: Finished) -> dict[Any, Any]:
        """Updates for a finished run."""
        record, settings = end.record, end.record.settings
        both = sheets(record)
        what = f"{settings.model}, {settings.method}, seed {settings.seed}"
        pictures, steps = film_pictures(record)
        done = f"{settings.num_images} images, {record.steps[-1]} steps in {record.seconds:.1f} s on {what}"
        return {
            self.record: record,
            self.status: idle(done),
            self.before: gr.update(value=both.before, alt_text=f"Grid of samples before refinement: {what}"),
            self.after: gr.update(
                value=both.after, label="After", alt_text=f"Grid of samples after {record.steps[-1]} steps: {what}"
            ),
            self.finished: gr.update(visible=True),
            self.order: ORDERS[0],
            self.captions: False,
            self.numbers: panel.as_html(record.metrics),
            self.plot: energy_frame(record),
            self.film: film(pictures, steps, f"Film of the chains: {what}"),
            self.slider: (both.before, both.after),
            self.number: gr.update(value=0, label=f"Image number, 0 to {len(record.before) - 1}"),
            **self._tile(record, 0),
            self.extremes: extremes(record),
            **self._chain(record),
            self.animation: gr.update(visible=False),
            self.bundle: str(end.bundle),
        }

    def _wire(self) -> None:
        arranged = [self.before, self.after, self.slider]
        for control in (self.order, self.captions):
            control.input(self._arrange, [self.record, self.order, self.captions], arranged, **LOOK)
        looked = [self.words, self.copied, self.tile_film, self.tile_energy, self.tile_ratio]
        for picture in (self.before, self.after):
            picture.select(self._clicked, [self.record, self.order, self.captions], [self.number, *looked], **LOOK)
        self.number.input(self._look, [self.record, self.number], looked, **LOOK)
        self.animate.click(self._animate, [self.record, self.kind], self.animation, **LOOK)

    def _arrange(self, record: Record | None, order: str, captions: bool) -> Any:
        if record is None:
            return {self.before: gr.skip()}
        both = sheets(record, order, captions)
        return {self.before: both.before, self.after: both.after, self.slider: (both.before, both.after)}

    def _clicked(self, record: Record | None, order: str, captions: bool, event: gr.SelectData) -> Any:
        if record is None:
            return {self.number: gr.skip()}
        both = sheets(record, order, captions)
        place = both.layout.tile_at(*event.index) if both.layout else None
        if place is None:
            return {self.number: gr.skip()}
        number = both.numbers[place]
        return {self.number: number, **self._tile(record, number)}

    def _look(self, record: Record | None, value: Any) -> Any:
        with told():
            number = tile_number(record, value)
        assert record is not None
        return self._tile(record, number)

    def _tile(self, record: Record, number: int) -> dict[Any, Any]:
        pictures, steps = tile_pictures(record, number)
        ratio = ratio_frame(record, number)
        return {
            self.words: tile_words(record, number),
            self.copied: copies.as_html(record, number, self.data),
            self.tile_film: film(pictures, steps, f"Film of image {number}"),
            self.tile_energy: tile_frame(record, number),
            self.tile_ratio: gr.update(value=ratio, visible=ratio is not None),
        }

    def _chain(self, record: Record) -> dict[Any, Any]:
        gradient = chain_panel.gradient_frame(record)
        return {
            self.chain: chain_panel.as_html(record),
            self.accepted: chain_panel.accepted_frame(record),
            self.gradient: gr.update(value=gradient, visible=gradient is not None),
        }

    def _animate(self, record: Record | None, kind: str) -> Iterator[Any]:
        with told():
            tile_number(record, 0)
        assert record is not None
        pictures, _ = film_pictures(record)
        scale = max(1, 528 // pictures[0].width)
        larger = [picture.resize((picture.width * scale, picture.height * scale), resample=0) for picture in pictures]
        kind = kind.lower() if kind.lower() in render.ANIMATIONS else render.ANIMATIONS[0]
        with TemporaryDirectory(prefix="refine-") as folder:
            path = Path(folder) / f"{record.settings.model}-{record.settings.method}.{kind}"
            path.write_bytes(render.animation(larger, kind))
            yield gr.update(value=str(path), visible=True, label=f"Save the animation ({path.stat().st_size // 1000} kB)")


def idle(text: str) -> str:
    return f'<div aria-live="polite">{html.escape(text)}</div>'


def progress_line(frame: Frame, seconds: float) -> str:
    """The line under which the chain runs, with its progress bar."""
    where = f"step {frame.step} of {frame.n_steps} · mean energy {frame.mean_energy:.2f}"
    text = f"{where} · taken {frame.accepted:.0%} · {seconds:.1f} s"
    share = 100 * frame.step / frame.n_steps
    return f'<div>{html.escape(text)}<div class="bar"><span style="width:{share:.0f}%"></span></div></div>'


def _curve(of: str, title: str, name: str) -> gr.LinePlot:
    return gr.LinePlot(x="step", y=of, title=title, height=240, min_width=240, elem_id=name, buttons=[])


def _picture(label: str, name: str) -> gr.Image:
    return gr.Image(
        label=label, format="png", type="pil", interactive=False, elem_id=name, elem_classes=["pixel", "clickable"],
        alt_text=f"Grid of samples: {label}", buttons=["download", "fullscreen"], min_width=280,
    )  # fmt: skip
