"""The public endpoints: `/refine`, `/models`, `/status`. Names, order and defaults are fixed; `tests/api_schema.json` has them.

Values arrive as raw JSON, with no component between that would round or coerce them: the checks are those of the library.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import lru_cache
from typing import Any

import gradio as gr
import orjson
from gradio.components.api_component import Api

import ebm_refine
from ebm_refine.catalogue import ModelInfo
from ebm_refine.energies.labels import label_count
from ebm_refine.errors import InputError
from ebm_refine.models.kinds import is_points, law_of
from ebm_refine.parameters import Parameter, shorten
from ebm_refine.samplers import METHODS
from ebm_refine.settings import COMMON
from ebm_refine.ui.components.run_bar import LANE
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.model_cache import stamp
from ebm_refine.ui.runtime.waiting import priced
from ebm_refine.ui.tabs.refine.job import Finished, Live, checked, device, refinable_models, run, user_errors

_ROWS = {row.name: row for row in COMMON}
NULL = {"type": "null"}
# The widest ranges of any method.
EPS, STEPS = (next(row for row in METHODS["langevin"].parameters if row.name == name) for name in ("eps", "n_steps"))
GROUPS = ("generators of images", "energies of images", "points in the plane")


def _evaluations(model, method, eps, n_steps, num_images, seed, ratio, options) -> float:
    arguments = {"method": method, "eps": eps, "n_steps": n_steps, "num_images": num_images, "seed": seed, "ratio": ratio}
    return limits.work_of(checked(model, arguments | split_options(options)))


@priced(_evaluations)
def refine(model, method=None, eps=None, n_steps=None, num_images=64, seed=0, ratio="auto", options=None) -> Iterator[tuple]:
    """Refine a model's samples. While it runs, progress instead of metrics ({step, n_steps, mean_energy}); then four values.
    before: PNG of the samples as they began; after: PNG of the same samples refined; metrics: an object with settings (those
    that were used), diagnostics of the chain (ignored: what the method does not use), kernel_distance and, of images with
    enough encoders, verdict (ratio_spread, where the ratio has refits: how far they agree); bundle: a zip with both pictures,
    samples.npz, settings.json and metrics.json."""
    progress: dict[str, Any] = {"step": 0}
    with user_errors():
        arguments = {"method": method, "eps": eps, "n_steps": n_steps, "num_images": num_images, "seed": seed, "ratio": ratio}
        with closing(run(model, arguments | split_options(options))) as news:
            for item in news:
                if isinstance(item, Finished):
                    record = item.record
                    folder = item.bundle.parent / "files"
                    yield str(folder / "before.png"), str(folder / "after.png"), record.metrics, str(item.bundle)
                    return
                if isinstance(item, Live):
                    progress = {"step": item.frame.step, "n_steps": item.frame.n_steps, "mean_energy": item.frame.mean_energy}
                yield None, None, progress, None


@lru_cache(maxsize=2)
def _models_json(_stamp: Any) -> bytes:
    return orjson.dumps(models())


def models() -> list[dict[str, Any]]:
    """The models that can be refined, those of one group together: name, title, kind, data set, shape, defaults, number of
    classes (0: none), and their methods with every parameter's range, unit and default, and the law that each samples."""
    grouped = sorted(refinable_models().values(), key=lambda model: (GROUPS.index(_group(model)), model.name))
    return [
        {
            "name": model.name,
            "title": model.config.get("title", model.name),
            "kind": model.kind,
            "group": _group(model),
            "classes": label_count(model.config),
            "dataset": model.dataset,
            "shape": list(model.shape),
            "defaults": model.config.get("defaults", {}),
            "methods": {
                name: {
                    "title": METHODS[name].title,
                    "summary": METHODS[name].summary,
                    "law": METHODS[name].law.sentence,
                    "parameters": [_row(row) for row in METHODS[name].parameters],
                }
                for name in model.methods
            },
        }
        for model in grouped
    ]


def _group(model: ModelInfo) -> str:
    """What it is, in words."""
    if is_points(model.config):
        return GROUPS[2]
    return GROUPS[0] if law_of(model.config) == "pair" else GROUPS[1]


def status(waiting: Callable[[], int]) -> dict[str, Any]:
    """That the process lives, what it runs on, how many wait, and how much one call may ask for."""
    return {
        "ready": True,
        "version": ebm_refine.__version__,
        "device": device(),
        "models": list(refinable_models()),
        "queue": {"waiting": waiting(), "max_waiting": limits.MAX_WAITING},
        "limits": limits.as_dict(),
    }


def add(demo: gr.Blocks) -> None:
    """Give the page its endpoints; they need components, of which none is shown."""
    inputs = [
        input_of("model", {"type": "string"}, "a name that /models lists"),
        input_of(
            "method",
            {"anyOf": [{"type": "string"}, NULL]},
            "how to sample: a name that /models lists for the model; null: the model's default",
        ),
        input_of(
            "eps",
            {"anyOf": [{"type": "number"}, NULL]},
            f"step size, {EPS.allowed} in units of the latent space (Langevin's eps); null: the model's default. A "
            "method without a step size ignores it and says so in metrics.diagnostics.ignored",
        ),
        input_of(
            "n_steps",
            {"anyOf": [{"type": "integer"}, NULL]},
            f"number of steps a sample takes, {STEPS.allowed}; images times steps may be at most "
            f"{limits.MAX_WORK} for most methods (points {limits.MAX_POINT_WORK}); null: the model's default",
        ),
        input_of(
            "num_images",
            {"type": "integer"},
            f"number of samples, a whole number from 1 to {limits.MAX_IMAGES} (points {limits.MAX_POINTS})",
            _ROWS["num_images"].default,
        ),
        input_of(
            "seed",
            {"type": "integer"},
            f"{_ROWS['seed'].allowed}: {_ROWS['seed'].help}; the same seed gives the same samples",
            _ROWS["seed"].default,
        ),
        input_of(
            "ratio",
            {"type": "string"},
            f"which discriminator score: {_ROWS['ratio'].help}; {_ROWS['ratio'].allowed}",
            _ROWS["ratio"].default,
        ),
        input_of(
            "options",
            {"anyOf": [{"type": "object", "additionalProperties": {}}, NULL]},
            f"further values by name: beta, {_ROWS['beta'].allowed} (weight of the score; 0: the generator alone), temperature "
            "of methods that have one, label (the class, a whole number, of models with classes), and the method's parameters "
            "as /models lists them with units and ranges",
        ),
    ]
    outputs = [
        gr.Image(label="before", format="png", visible=False),
        gr.Image(label="after", format="png", visible=False),
        gr.JSON(label="metrics", visible=False),
        gr.File(label="bundle", visible=False),
    ]
    gr.Button(visible=False).click(
        refine, inputs, outputs, api_name="refine", api_description=described(refine), preprocess=False, show_progress="hidden",
        concurrency_id=LANE, concurrency_limit=1,
    )  # fmt: skip

    def how_it_is() -> dict[str, Any]:
        # The queue has no public way to say this; Gradio is pinned, and the test of /status would notice.
        return status(lambda: demo._queue.get_status().queue_size)

    def all_models() -> list[dict[str, Any]]:
        # As JSON at once: 330 kB of dicts would cost Gradio's event loop 60 ms, in which nobody else is answered.
        return orjson.Fragment(_models_json(stamp()))  # type: ignore[return-value]

    # Not queued: they answer at once, also while the queue is full; the Python client joins it even so, as a look.
    gr.api(all_models, api_name="models", api_description=described(models), queue=False, concurrency_limit=None)
    gr.api(how_it_is, api_name="status", api_description=described(status), queue=False, concurrency_limit=None)


def described(endpoint: Callable[..., Any]) -> str:
    """An endpoint's own words in one line, as the schema shows them."""
    return " ".join((endpoint.__doc__ or "").split())


def input_of(name: str, schema: dict[str, Any], description: str, default: Any = None) -> Api:
    return Api(default, {**schema, "description": description}, label=name)


def split_options(options: Any) -> dict[str, Any]:
    """`beta`, `temperature` and `label` are no arguments of the call, so they go into the options."""
    if options is not None and not isinstance(options, dict):
        raise InputError(f"options must be an object of names and values; got {shorten(options)}")
    rest = dict(options or {})
    own = {name: rest.pop(name) for name in ("beta", "temperature", "label") if name in rest}
    return {**own, "options": rest}


def _row(row: Parameter) -> dict[str, Any]:
    # JSON has no infinity: a row without bounds, a choice, says null.
    bounds = {name: bound if math.isfinite(bound) else None for name, bound in (("low", row.low), ("high", row.high))}
    return {**vars(row), **bounds, "allowed": row.allowed}
