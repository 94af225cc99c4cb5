"""A deep belief network: digits from Gibbs chains on its top machine, and the committed measurement of them."""

import html
import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from ebm_refine.catalogue import ModelInfo
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.parameters import Parameter
from ebm_refine.settings import resolve
from ebm_refine.ui.components.html_table import number, panel, small, table
from ebm_refine.ui.components.status_line import idle, progress_line
from ebm_refine.ui.runtime.model_cache import known_models
from ebm_refine.ui.tabs.energy import benchmark_table as energy_measured
from ebm_refine.ui.tabs.energy.chains import STEPS_SHOWN, ChainsView, Runner
from ebm_refine.ui.tabs.energy_gans.models import SEED
from ebm_refine.ui.tabs.refine.job import Finished, Live, Record, run, user_errors
from ebm_refine.ui.tabs.refine.pictures import energy_frame, film_pictures

TITLE = "Belief network"
FILE = RESULTS / "dbn.json"
IMAGES = Parameter("num_images", "int", 16, 1, 64)
_COLUMNS = energy_measured.COLUMNS | {"histogram_divergence": ("KL of classes to uniform", 3)}


def belief_nets() -> dict[str, ModelInfo]:
    """The embedded ones, by name."""
    return {model.name: model for model in known_models() if model.kind == "dbn"}


def present() -> bool:
    return bool(belief_nets())


def build() -> None:
    """Lay out the part for the first of them, and wire it. There must be one."""
    info = next(iter(belief_nets().values()))
    gr.Markdown(_head(info), elem_classes="note")
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            usual = resolve(info.name, info.config).n_steps
            steps = gr.Slider(1, STEPS_SHOWN, value=usual, step=1, label="Gibbs steps", elem_id="dbn-n-steps")
            images = gr.Slider(IMAGES.low, IMAGES.high, value=IMAGES.default, step=1, label="Chains", elem_id="dbn-images")
            seed = gr.Number(0, label="Seed", precision=0, elem_id="dbn-seed")
            runner = Runner("dbn", "Run the chains")
        with gr.Column(scale=2, min_width=320):
            view = ChainsView("Digits below the top machine's chains", "dbn")
    results = json.loads(FILE.read_text()) if FILE.is_file() else {}
    if results.get("model") == info.name:
        gr.HTML(as_html(results), elem_id="dbn-table")

    def sample(steps: Any, images: Any, seed: Any) -> Iterator[dict[Any, Any]]:
        began = time.monotonic()
        with user_errors():
            values = {"n_steps": steps, "num_images": IMAGES.parse(images), "seed": SEED.given(seed)}
            yield {**view.cleared(), runner.status: idle("Preparing …")}
            with closing(run(info.name, values)) as news:
                for item in news:
                    if isinstance(item, Live):
                        yield {**view.running(item.picture), runner.status: progress_line(item.frame, time.monotonic() - began)}
                    elif isinstance(item, Finished):
                        done = idle(f"Done in {time.monotonic() - began:.1f} s.")
                        yield {**_filmed(view, item.record), runner.status: done}

    runner.follows(sample, [steps, images, seed], [view])


def as_html(results: dict[str, Any]) -> str:
    """What the chains give after how many steps: a paragraph, a row each, and what it was measured on."""
    by_steps = results["samples"]["by_steps"]
    seeds = ", ".join(map(str, results["seeds"]))
    measured = (
        f"{results['title']} ({results['extractor']}, sha256 {results['sha256'][:12]}), {results['num_images']} images, seeds "
        f"{seeds}, mean ± deviation over seeds, against unseen digits, whose own Fréchet distance at this number is "
        f"{results['floors']['frechet_mean']:.2f} and whose confidence is {results['real']['mean_confidence']:.3f}."
    )
    rows = [
        [steps, *(energy_measured.spread(row[key], digits) for key, (_, digits) in _COLUMNS.items())]
        for steps, row in by_steps.items()
    ]
    made = table(["Gibbs steps", *(title for title, _ in _COLUMNS.values())], rows, wide=True)
    return panel(f"<p>{html.escape(_shown(by_steps))}</p>", made, small(measured))


def _head(info: ModelInfo) -> str:
    sizes = "–".join(map(str, info.config["parts"]["energy"]["arguments"]["sizes"]))
    return (
        f"`{info.name}` has neither a generator nor a discriminator: it is a stack of restricted Boltzmann machines, {sizes}, "
        "learned one after the other. A chain begins in random bits and alternates between the two layers of the topmost "
        "machine (block Gibbs); one pass down turns its bits into a picture, the mean of the pixels. No move is ever rejected "
        "and there is no step size: only the number of steps can be chosen."
    )


def _shown(by_steps: dict[str, Any]) -> str:
    """What the table shows, in its own numbers."""
    first, *_, last = by_steps
    best = min(by_steps, key=lambda steps: by_steps[steps]["frechet_distance"]["mean"])
    distance, confidence, crowding = (
        {steps: f"{by_steps[steps][name]['mean']:.2f}" for steps in (first, best, last)}
        for name in ("frechet_distance", "mean_confidence", "histogram_divergence")
    )
    return (
        f"More steps do not always give better digits. From random bits to {best} steps the Fréchet distance falls from "
        f"{distance[first]} to {distance[best]}; after {last} steps it is {distance[last]}. By then the classifier is more "
        f"certain of each digit (confidence {confidence[best]}, then {confidence[last]}), but the chains have crowded into few "
        f"classes (KL of classes to uniform {crowding[best]}, then {crowding[last]}). The top machine learned from chains of "
        f"about {best} steps from such bits and mixes slowly, so its stationary distribution has other class proportions than "
        "the data."
    )


def _filmed(view: ChainsView, record: Record) -> dict[Any, Any]:
    before, after = (number(float(energy.mean())) for energy in (record.energy_before, record.energy_after))
    words = (
        f"Mean energy {before} → {after} after {record.steps[-1]} steps: the free energy of the top machine's visible bits. It "
        "falls because random bits are improbable under the model; a low value says nothing about the quality of the digits."
    )
    return view.filmed(*film_pictures(record), panel(small(words)), energy_frame(record))
