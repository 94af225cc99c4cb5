"""The public endpoints of the 2-D laboratory: `/toy_sample`, `/toy_landscape`, `/toy_experiments`; fixed as in `api`."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr
from gradio.components.api_component import Api

from ebm_refine.parameters import Parameter
from ebm_refine.settings import resolve
from ebm_refine.toy2d.landscape import landscape
from ebm_refine.ui.api.refine import split_options
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.model_cache import cached_model
from ebm_refine.ui.runtime.waiting import priced
from ebm_refine.ui.tabs.refine.job import user_errors
from ebm_refine.ui.tabs.toy2d import tab as laboratory
from ebm_refine.ui.tabs.toy2d.job import LANE, FinishedScene, LiveScene, checked, ground_as_json, run, toy_named

RESOLUTION = Parameter("resolution", "int", 96, 8, 256, unit="squares a side")
# Points that are moved in the time of an image, as far as waiting goes.
POINTS_AN_IMAGE = 250
_NULL = {"type": "null"}


def _evaluations(model, method, eps, n_steps, num_points, seed, ratio, options) -> float:
    given = {"method": method, "eps": eps, "n_steps": n_steps, "num_images": num_points, "seed": seed, "ratio": ratio}
    return limits.work_of(checked(model, given | split_options(options))) / POINTS_AN_IMAGE


@priced(_evaluations)
def toy_sample(
    model, method=None, eps=None, n_steps=None, num_points=1000, seed=0, ratio="auto", options=None
) -> Iterator[dict]:
    """Sample a model of points in the plane. Yields progress, then points before and after and their numbers."""
    given = {"method": method, "eps": eps, "n_steps": n_steps, "num_images": num_points, "seed": seed, "ratio": ratio}
    progress: dict[str, Any] = {"step": 0}
    with user_errors(), closing(run(model, given | split_options(options))) as news:
        for item in news:
            if isinstance(item, FinishedScene):
                yield {"before": item.before.tolist(), "after": item.after.tolist(), "metrics": item.metrics}
                return
            if isinstance(item, LiveScene):
                progress = {"step": item.frame.step, "n_steps": item.frame.n_steps, "mean_energy": item.frame.mean_energy}
            yield progress


def toy_landscape(model, window="data", ratio="auto", beta=1.0, resolution=96) -> dict[str, Any]:
    """The energy of a model of points on a grid, row 0 lowest, with minus its gradient on a coarser one."""
    with user_errors():
        info = toy_named(model)
        settings = resolve(info.name, info.config, ratio=ratio, beta=beta)
        ground = landscape(cached_model(info.name), window, settings.ratio, settings.beta, RESOLUTION.parse(resolution))
        return ground_as_json(ground)


def toy_experiments() -> list[dict[str, Any]]:
    """The known experiments: title, model, arguments of `/toy_sample` by name, and what they show."""
    return [one._asdict() for one in laboratory.experiments().values()]


def add(demo: gr.Blocks) -> None:
    """Give the page its endpoints; they need components, of which none is shown."""
    model = Api(None, {"type": "string", "description": "a toy model that /models lists"}, label="model")
    answer = gr.JSON(label="answer", visible=False)
    how: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "concurrency_id": LANE, "concurrency_limit": 1}
    gr.Button(visible=False).click(
        toy_sample,
        [
            model,
            _input("method", {"anyOf": [{"type": "string"}, _NULL]}, "null: the model's default"),
            _input("eps", {"anyOf": [{"type": "number"}, _NULL]}, "step size; null: the model's default"),
            _input("n_steps", {"anyOf": [{"type": "integer"}, _NULL]}, "transitions; null: the model's default"),
            _input("num_points", {"type": "integer"}, f"from 1 to {limits.MAX_POINTS}", 1000),
            _input("seed", {"type": "integer"}, "point i depends on the seed and i alone", 0),
            _input("ratio", {"type": "string"}, "the log ratio r to sample; auto: the model's best", "auto"),
            _input(
                "options",
                {"anyOf": [{"type": "object", "additionalProperties": {}}, _NULL]},
                "beta, temperature and the method's further parameters by name",
            ),
        ],
        answer,
        api_name="toy_sample", api_description=toy_sample.__doc__, **how,
    )  # fmt: skip
    gr.Button(visible=False).click(
        toy_landscape,
        [
            model,
            _input("window", {"type": "string"}, "data, or latent where the model has two latents", "data"),
            _input("ratio", {"type": "string"}, "as of /toy_sample", "auto"),
            _input("beta", {"type": "number"}, "weight of r in the energy", 1.0),
            _input("resolution", {"type": "integer"}, RESOLUTION.allowed, RESOLUTION.default),
        ],
        answer,
        api_name="toy_landscape", api_description=toy_landscape.__doc__, **how,
    )  # fmt: skip
    gr.api(
        toy_experiments,
        api_name="toy_experiments",
        api_description=toy_experiments.__doc__,
        queue=False,
        concurrency_limit=None,
    )


def _input(name: str, schema: dict[str, Any], description: str, default: Any = None) -> Api:
    return Api(default, {**schema, "description": description}, label=name)
