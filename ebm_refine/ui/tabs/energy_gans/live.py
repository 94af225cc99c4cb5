"""Energy-based GANs at work: all models sampled on the same seeds, and what their autoencoders make of digits."""

import html
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from ebm_refine import render
from ebm_refine.catalogue import ModelInfo
from ebm_refine.energies import autoencoder_gan as energy_gans
from ebm_refine.parameters import Parameter
from ebm_refine.settings import COMMON
from ebm_refine.ui.components.digit_input import DigitInput, given
from ebm_refine.ui.tabs.energy.chains import LANED
from ebm_refine.ui.tabs.energy_gans import models as models_room
from ebm_refine.ui.tabs.energy_gans.models import Reconstructed, energy_gan_models, short_title
from ebm_refine.ui.tabs.refine.job import Finished, Live, Record, run, told
from ebm_refine.ui.tabs.refine.results import PRIVATE, idle, progress_line

IMAGES = Parameter("num_images", "int", 16, 1, 64)
_BETA = next(row for row in COMMON if row.name == "beta")
RATIOS = ("calibrated", "raw")
_UNITS_DIFFER = "Energies compare images under one model only: each D has a unit, and a scale, of its own."


def side_by_side() -> None:
    """All models, one after the other, from the same latents, each by its own default method."""
    models = energy_gan_models()
    with gr.Row():
        images = gr.Slider(IMAGES.low, IMAGES.high, value=IMAGES.default, step=1, label="Images", elem_id="gans-images")
        seed = gr.Number(0, label="Seed", info="the same latents for every model", precision=0, elem_id="gans-seed")
        ratio = gr.Radio(
            list(RATIOS), value=RATIOS[0], label="Log ratio r", info="raw is −D itself", elem_id="gans-ratio",
        )  # fmt: skip
        beta = gr.Slider(0, 10, value=1, step=0.1, label="beta", info="inverse temperature of r", elem_id="gans-beta")
    with gr.Row(equal_height=True):
        start = gr.Button("Sample all of them", variant="primary", elem_id="gans-run", scale=3, min_width=120)
        stop = gr.Button("Stop", variant="stop", elem_id="gans-stop", scale=1, min_width=90)
    said = gr.HTML(idle("Press the button: every model begins with the same seed."), elem_id="gans-status",
                   elem_classes="run-status")  # fmt: skip
    views: dict[str, tuple[gr.Image, gr.Image, gr.HTML]] = {}
    with gr.Row():
        for name, info in models.items():
            with gr.Column(min_width=250):
                gr.Markdown(f"**{short_title(info)}**")
                with gr.Row():
                    before = _picture("Before", f"{name}-before", f"Samples of {short_title(info)} before sampling")
                    after = _picture("After", f"{name}-after", f"Samples of {short_title(info)} after sampling")
                views[name] = (before, after, gr.HTML(elem_id=f"{name}-words"))
    outputs = [said, *(component for view in views.values() for component in view)]

    def sample(images: Any, seed: Any, ratio: Any, beta: Any) -> Iterator[dict[Any, Any]]:
        began = time.monotonic()
        with told():
            count = IMAGES.parse(images)
            yield {said: idle("Preparing …"), **{view[2]: "" for view in views.values()}}
            for name, (before, after, words) in views.items():
                with closing(
                    run(name, {"num_images": count, "seed": models_room.SEED.given(seed), "ratio": ratio, "beta": beta})
                ) as news:
                    for item in news:
                        if isinstance(item, Live):
                            line = progress_line(item.frame, time.monotonic() - began)
                            yield {said: line, after: item.picture, **({before: item.picture} if not item.frame.step else {})}
                        elif isinstance(item, Finished):
                            yield _ended(models[name], item.record, before, after, words)
            yield {said: idle(f"Done in {time.monotonic() - began:.1f} s.")}

    running = start.click(sample, [images, seed, ratio, beta], outputs, **LANED)
    stop.click(None, None, None, cancels=[running]).then(_stopped, None, said, queue=False, **PRIVATE)


def reconstructions() -> None:
    """A visitor's digit, and digits that each generator made, above what each autoencoder makes of them."""
    models = energy_gan_models()
    gr.Markdown(
        "Above, an image; below, what the discriminator's autoencoder makes of it; beneath, the energy D. The first is the "
        f"digit chosen here, the others are the model's own, from the same latents for all. {_UNITS_DIFFER}",
        elem_classes="note",
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            digit = DigitInput("gans-digit")
            with gr.Row():
                count = gr.Slider(
                    models_room.COUNT.low, models_room.COUNT.high, value=models_room.COUNT.default, step=1,
                    label="Generated digits", elem_id="gans-generated",
                )  # fmt: skip
                seed = gr.Number(0, label="Seed", precision=0, elem_id="gans-digits-seed")
            button = gr.Button("Reconstruct", variant="primary", elem_id="gans-reconstruct")
        views: dict[str, tuple[gr.Image, gr.HTML]] = {}
        with gr.Column(scale=2, min_width=320):
            names = list(models)
            for place in range(0, len(names), 2):
                with gr.Row():
                    for name in names[place : place + 2]:
                        title = short_title(models[name])
                        with gr.Column(min_width=250):
                            picture = _picture(title, f"{name}-seen", f"Images and their reconstructions by {title}")
                            views[name] = (picture, gr.HTML(elem_id=f"{name}-seen-words"))

    def reconstruct(images: Any, count: Any, seed: Any) -> dict[Any, Any]:
        updates: dict[Any, Any] = {}
        with told():
            for name, (picture, words) in views.items():
                found = models_room.reconstructed(name, given(images)[:1], count, seed)
                updates |= {picture: found.picture, words: _seen_words(models[name], found)}
        return updates

    outputs = [component for view in views.values() for component in view]
    button.click(reconstruct, [digit.digits, count, seed], outputs, **LANED)


def _ended(info: ModelInfo, record: Record, before: gr.Image, after: gr.Image, words: gr.HTML) -> dict[Any, Any]:
    settings = record.settings
    assert record.ratio_before is not None
    assert record.ratio_after is not None
    eps = settings.values.get("eps")
    how = settings.method if eps is None else f"{settings.method}, eps {eps:g}"
    text = (
        f"{how}, {settings.n_steps} steps: mean r {_signed(record.ratio_before)} → {_signed(record.ratio_after)}. "
        f"D is {energy_gans.unit_of(info.config)}. A sampler is told to raise r: it is no measure of quality."
    )
    return {
        before: render.grid(record.before),
        after: render.grid(record.after),
        words: f"<div class='panel'><p class='small'>{html.escape(text)}</p></div>",
    }


def _seen_words(info: ModelInfo, found: Reconstructed) -> str:
    energies, generated = found.seen.energies[: found.given], found.seen.energies[found.given :]
    text = f"D is {energy_gans.unit_of(info.config)}: {float(energies[0]):.3g} of the chosen digit, "
    text += f"{float(generated.mean()):.3g} on average of the generated ones."
    if found.shares_above is not None:
        text += f" Of held-out real digits {found.shares_above[0]:.1%} have at least the chosen digit's energy."
    return f"<div class='panel'><p class='small'>{html.escape(text)}</p></div>"


def _signed(values: Any) -> str:
    return f"{float(values.mean()):+.3g}".replace("-", "−")


def _picture(label: str, name: str, alt: str) -> gr.Image:
    return gr.Image(
        label=label, format="png", type="pil", interactive=False, buttons=[], elem_id=name, elem_classes="pixel", alt_text=alt,
        min_width=110,
    )  # fmt: skip


def _stopped() -> str:
    time.sleep(0.3)  # the word comes after whatever the cancelled run still had on its way
    return idle("Stopped.")
