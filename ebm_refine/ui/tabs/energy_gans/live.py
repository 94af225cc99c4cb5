"""Energy-based GANs at work: all models sampled on the same seeds, and what their autoencoders make of digits."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr
from PIL import Image

from ebm_refine import render
from ebm_refine.catalogue import ModelInfo
from ebm_refine.energies import autoencoder_gan as energy_gans
from ebm_refine.parameters import Parameter
from ebm_refine.settings import COMMON
from ebm_refine.ui.components.digit_input import DigitInput, given
from ebm_refine.ui.components.html_table import panel, percent, small
from ebm_refine.ui.components.picture_view import picture_view, shown
from ebm_refine.ui.components.run_bar import RunBar, laned, refilled
from ebm_refine.ui.components.status_line import idle, progress_line
from ebm_refine.ui.tabs.energy_gans import models as models_module
from ebm_refine.ui.tabs.energy_gans.models import Reconstructed, energy_gan_models, short_title
from ebm_refine.ui.tabs.refine.job import Finished, Live, Record, run, user_errors

IMAGES = Parameter("num_images", "int", 16, 1, 64)
_BETA = next(row for row in COMMON if row.name == "beta")
RATIOS = ("calibrated", "raw")
_UNITS_DIFFER = "Energies can be compared within one model only: every D has its own unit."


def side_by_side() -> None:
    """All models, one after the other, from the same latents, each by its own default method."""
    models = energy_gan_models()
    with gr.Row():
        images = gr.Slider(IMAGES.low, IMAGES.high, value=IMAGES.default, step=1, label="Images", elem_id="gans-images")
        seed = gr.Number(0, label="Seed", info="the same latents for every model", precision=0, elem_id="gans-seed")
        ratio = gr.Radio(
            list(RATIOS), value=RATIOS[0], label="Which score", info="raw is −D itself", elem_id="gans-ratio",
        )  # fmt: skip
        beta = gr.Slider(0, 10, value=1, step=0.1, label="beta", info="how strongly r counts", elem_id="gans-beta")
    gr.Markdown("Every sampler raises the score r: that is what it does. So r does not measure quality.", elem_classes="note")
    bar = RunBar("gans", "Sample all of them", "Press the button: every model begins with the same seed.")
    said = bar.status
    views: dict[str, tuple[gr.HTML, gr.HTML, gr.HTML]] = {}
    with gr.Row():
        for name, info in models.items():
            with gr.Column(min_width=250):
                gr.Markdown(f"**{short_title(info)}**")
                with gr.Row():
                    before, after = (picture_view(elem_id=f"{name}-{side}", min_width=110) for side in ("before", "after"))
                views[name] = (before, after, gr.HTML(elem_id=f"{name}-words"))
    outputs = [component for view in views.values() for component in view]

    def sample(images: Any, seed: Any, ratio: Any, beta: Any) -> Iterator[dict[Any, Any]]:
        began = time.monotonic()
        with user_errors():
            count = IMAGES.parse(images)
            yield {said: idle("Preparing …"), **{view[2]: "" for view in views.values()}}
            for name, (before, after, words) in views.items():
                with closing(
                    run(name, {"num_images": count, "seed": models_module.SEED.given(seed), "ratio": ratio, "beta": beta})
                ) as news:
                    for item in news:
                        if isinstance(item, Live):
                            line = progress_line(item.frame, time.monotonic() - began)
                            now = _sides(item.picture, item.picture, before, after, models[name])
                            yield {said: line, **{key: now[key] for key in ([after] if item.frame.step else [before, after])}}
                        elif isinstance(item, Finished):
                            yield _ended(models[name], item.record, before, after, words)
            yield {said: idle(f"Done in {time.monotonic() - began:.1f} s.")}

    inputs = [images, seed, ratio, beta]
    bar.runs(refilled(sample, inputs), inputs, outputs)


def reconstructions() -> None:
    """A visitor's digit, and digits that each generator made, above what each autoencoder makes of them."""
    models = energy_gan_models()
    gr.Markdown(
        "Upper row: images. Lower row: what the discriminator's autoencoder makes of them, with the energy D. The first image "
        f"is the digit chosen here; the others are the model's own, from the same latents for all. {_UNITS_DIFFER}",
        elem_classes="note",
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            digit = DigitInput("gans-digit")
            with gr.Row():
                count = gr.Slider(
                    models_module.COUNT.low, models_module.COUNT.high, value=models_module.COUNT.default, step=1,
                    label="Generated digits", elem_id="gans-generated",
                )  # fmt: skip
                seed = gr.Number(0, label="Seed", precision=0, elem_id="gans-digits-seed")
            button = gr.Button("Reconstruct", variant="primary", elem_id="gans-reconstruct")
        views: dict[str, tuple[gr.HTML, gr.HTML]] = {}
        with gr.Column(scale=2, min_width=320):
            names = list(models)
            for first in range(0, len(names), 2):
                with gr.Row():
                    for name in names[first : first + 2]:
                        with gr.Column(min_width=250):
                            picture = picture_view(elem_id=f"{name}-seen")
                            views[name] = (picture, gr.HTML(elem_id=f"{name}-seen-words"))

    def reconstruct(images: Any, count: Any, seed: Any) -> dict[Any, Any]:
        updates: dict[Any, Any] = {}
        with user_errors():
            for name, (picture, words) in views.items():
                found = models_module.reconstructed(name, given(images)[:1], count, seed)
                title = short_title(models[name])
                made = shown(found.picture, title, f"Images and their reconstructions by {title}")
                updates |= {picture: made, words: _seen_words(models[name], found)}
        return updates

    outputs = [component for view in views.values() for component in view]
    inputs = [digit.digits, count, seed]
    button.click(refilled(reconstruct, inputs), inputs, outputs, **laned())


def _ended(info: ModelInfo, record: Record, before: gr.HTML, after: gr.HTML, words: gr.HTML) -> dict[Any, Any]:
    settings = record.settings
    assert record.ratio_before is not None
    assert record.ratio_after is not None
    eps = settings.values.get("eps")
    how = settings.method if eps is None else f"{settings.method}, eps {eps:g}"
    text = (
        f"{how}, {settings.n_steps} steps: mean r {_signed(record.ratio_before)} → {_signed(record.ratio_after)}. "
        f"D is {energy_gans.unit_of(info.config)}."
    )
    return {
        **_sides(render.grid(record.before), render.grid(record.after), before, after, info),
        words: panel(small(text)),
    }


def _seen_words(info: ModelInfo, found: Reconstructed) -> str:
    energies, generated = found.seen.energies[: found.given], found.seen.energies[found.given :]
    text = f"D is {energy_gans.unit_of(info.config)}: {float(energies[0]):.3g} of the chosen digit, "
    text += f"{float(generated.mean()):.3g} on average of the generated ones."
    if found.shares_above is not None:
        text += f" Of held-out real digits {percent(found.shares_above[0], 1)} have at least the chosen digit's energy."
    return panel(small(text))


def _signed(values: Any) -> str:
    return f"{float(values.mean()):+.3g}".replace("-", "−")


def _sides(first: Image.Image, last: Image.Image, before: gr.HTML, after: gr.HTML, info: ModelInfo) -> dict[Any, Any]:
    """Updates that show both pictures of one model."""
    what = f"Samples of {short_title(info)}"
    return {before: shown(first, "Before", f"{what} before sampling"), after: shown(last, "After", f"{what} after sampling")}
