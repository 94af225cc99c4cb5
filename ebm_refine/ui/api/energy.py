"""The public endpoints of energies: `/energy_sample` and `/energy_question`. Names, order and defaults are fixed."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr
from gradio.components.api_component import Api
from PIL import Image
from torch import Tensor

from ebm_refine import render
from ebm_refine.errors import InputError
from ebm_refine.parameters import shorten
from ebm_refine.tasks import digit_preprocessing as digits
from ebm_refine.tasks import energy_model as answers
from ebm_refine.tasks import masks
from ebm_refine.tasks.energy_model import Chains
from ebm_refine.ui.components.run_bar import LANE
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.tabs.energy import job as asking
from ebm_refine.ui.tabs.energy import panels as energy_words
from ebm_refine.ui.tabs.energy.job import Answer, Moment, Question
from ebm_refine.ui.tabs.refine.job import user_errors

_CHAIN_OPTIONS = ("sampler", "n_steps", "num_images", "eps", "temperature", "clip")
# question -> the options that it takes
QUESTIONS: dict[str, tuple[str, ...]] = {
    "complete": ("mask", "share", *_CHAIN_OPTIONS),
    "denoise": ("sigma", *_CHAIN_OPTIONS),
    "detect": (),
    "rank": (),
    "ratio": (),
    "classify": ("beta",),
    "read": ("rule", "weight"),
}
_NULL = {"type": "null"}
_OBJECT = {"anyOf": [{"type": "object", "additionalProperties": {}}, _NULL]}


def energy_sample(
    model, num_images=16, n_steps=None, seed=0, sampler="short-run", class_label=None, options=None
) -> Iterator[tuple[Image.Image | None, Image.Image | None, dict[str, Any]]]:
    """Chains of an energy from noise. Yields progress instead of the answer, then before PNG, after PNG and the answer."""
    with user_errors():
        further = _options(options, ("eps", "temperature", "clip"), "this call")
        arguments = _chain_arguments({**further, "num_images": num_images, "n_steps": n_steps}, seed)
        progress: dict[str, Any] = {"step": 0}
        for item in _answered(asking.sampling(model, sampler, class_label, **arguments)):
            if isinstance(item, Chains):
                yield render.grid(item.before), render.grid(item.after), as_json(item)
                return
            progress = _progress(item, progress)
            yield None, None, progress


def energy_question(model, question, images, seed=0, options=None) -> Iterator[tuple[Image.Image | None, dict[str, Any]]]:
    """Ask an energy about images. Yields progress where chains run, then a picture (or none) and the answer."""
    with user_errors():
        if not isinstance(question, str) or question not in QUESTIONS:
            raise InputError(f"question must be one of {', '.join(QUESTIONS)}; got {shorten(question)}")
        given = _options(options, QUESTIONS[question], f"question {question!r}")
        pictures = given_digits(images)
        progress: dict[str, Any] = {"step": 0}
        for item in _answered(_question(model, question, pictures, given, seed)):
            if isinstance(item, Moment) or item is None:
                progress = _progress(item, progress)
                yield None, progress
            else:
                yield render.grid(item.after) if isinstance(item, Chains) else None, as_json(item)


def add(demo: gr.Blocks) -> None:
    """Give the page its endpoints; they need components, of which none is shown."""
    seed = _input("seed", {"type": "integer"}, "chain i depends on the seed and i alone", 0)
    model = _input("model", {"type": "string"}, "an energy of digits that /models lists")
    samplers = ", ".join(answers.SAMPLERS)
    how: dict[str, Any] = {
        "preprocess": False, "show_progress": "hidden", "concurrency_id": LANE, "concurrency_limit": 1,
    }  # fmt: skip
    gr.Button(visible=False).click(
        energy_sample,
        [
            model,
            _input("num_images", {"type": "integer"}, f"chains, from 1 to {limits.MAX_IMAGES}", 16),
            _input("n_steps", {"anyOf": [{"type": "integer"}, _NULL]}, "transitions; null: the model's default"),
            seed,
            _input("sampler", {"type": "string"}, f"one of {samplers}; only the first is the recipe's own", "short-run"),
            # Not "label": Gradio's translations take that word for one of their own.
            _input("class_label", {"anyOf": [{"type": "integer"}, _NULL]}, "sample p(x | label), of a model with labels"),
            _input("options", _OBJECT, "eps, temperature and, of short-run, clip by name"),
        ],
        [gr.Image(label="before", format="png", visible=False), gr.Image(label="after", format="png", visible=False),
         gr.JSON(label="answer", visible=False)],
        api_name="energy_sample", api_description=energy_sample.__doc__, **how,
    )  # fmt: skip
    gr.Button(visible=False).click(
        energy_question,
        [
            model,
            _input("question", {"type": "string"}, f"one of {', '.join(QUESTIONS)}"),
            _input(
                "images",
                {"type": "array", "items": {"type": "string"}},
                f"image files in base64, 1 to {asking.MAX_CANDIDATES}; one for complete, denoise and detect, two for ratio; "
                f"a grey one of 28 x 28 is taken as it is, any other prepared as MNIST's were",
            ),
            seed,
            _input("options", _OBJECT, "; ".join(f"{name}: {', '.join(rows) or 'none'}" for name, rows in QUESTIONS.items())),
        ],
        [gr.Image(label="picture", format="png", visible=False), gr.JSON(label="answer", visible=False)],
        api_name="energy_question", api_description=energy_question.__doc__, **how,
    )  # fmt: skip


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer as plain values, with what is to be said beside it."""
    if isinstance(answer, Chains):
        return {
            "settings": answer.settings.as_dict(),
            "energy_before": answer.energy_before.tolist(),
            "energy_after": answer.energy_after.tolist(),
            "diagnostics": answer.diagnostics,
            "notes": [energy_words.of_sampler(answer.settings), energy_words.ONE_MODEL],
        }
    if isinstance(answer, answers.Detection):
        return {
            "energy": answer.energy,
            "share_of_digits_above": answer.share_above,
            "mean_energies": {name: float(values.mean()) for name, values in answer.energies.items()},
            "aurocs": answer.aurocs,
            "measured_on": answer.measured_on,
            "notes": [energy_words.ONE_MODEL],
        }
    if isinstance(answer, answers.Ranking):
        return {
            "energies": answer.energies.tolist(),
            "order": answer.order.tolist(),
            "log_ratios_to_first": answer.log_ratios.tolist(),
            "notes": [energy_words.RATIO, energy_words.ONE_MODEL],
        }
    if isinstance(answer, answers.Classification):
        return {
            "labels": answer.labels.tolist(),
            "energies": answer.energies.tolist(),
            "log_probabilities": answer.log_probabilities.tolist(),
        }
    return {
        "alone": answer.alone.tolist(),
        "together": answer.together.tolist(),
        "energy_alone": answer.energy_alone,
        "energy_together": answer.energy_together,
        "energy_by_enumeration": answer.energy_enumerated,
        "rows": answer.rows,
    }


def _answered(question: Question) -> Iterator[Moment | Answer | None]:
    with closing(asking.ask(question)) as news:
        yield from news


def _question(model: Any, name: str, images: list[Tensor], given: dict[str, Any], seed: Any) -> Question:
    if name in ("complete", "denoise"):
        digit = asking.stacked(images, 1, 1)[0]
        own = {key: given.pop(key, None) for key in ("mask", "share", "sigma")}
        sampler = given.pop("sampler", "short-run")
        arguments = _chain_arguments(given, seed)
        if name == "denoise":
            sigma = asking.SIGMA.default if own["sigma"] is None else own["sigma"]
            return asking.denoising(model, digit, sigma, sampler, **arguments)
        mask = masks.NAMES[0] if own["mask"] is None else own["mask"]
        return asking.completion(model, digit, mask, own["share"], sampler, **arguments)
    if name == "detect":
        return asking.detection(model, asking.stacked(images, 1, 1)[0])
    if name == "rank":
        return asking.ranking(model, asking.stacked(images, 2))
    if name == "ratio":
        return asking.ranking(model, asking.stacked(images, 2, 2))
    if name == "classify":
        return asking.classification(model, asking.stacked(images, 1), given.get("beta", asking.BETA.default))
    rule, weight = given.get("rule", asking.RULE.default), given.get("weight", asking.WEIGHT.default)
    return asking.row_question(model, asking.stacked(images, 2), rule, weight)


def _chain_arguments(given: dict[str, Any], seed: Any) -> dict[str, Any]:
    """The arguments of `settings.resolve` from options by name; what is no setting of its own there travels as an option."""
    main: dict[str, Any] = {name: given[name] for name in ("eps", "n_steps", "temperature") if name in given}
    further = {name: given[name] for name in ("clip",) if name in given}
    return {**main, "num_images": given.get("num_images", 16), "seed": seed, "options": further}


def _options(options: Any, allowed: tuple[str, ...], what: str) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise InputError(f"options must be an object of names and values; got {shorten(options)}")
    for name in options:
        if name not in allowed:
            raise InputError(f"option {shorten(name)} is not one of {what}; its options are: {', '.join(allowed) or 'none'}")
    return dict(options)


def given_digits(images: Any) -> list[Tensor]:
    if not isinstance(images, list):
        raise InputError(f"images must be a list of image files in base64; got {shorten(images)}")
    if len(images) > asking.MAX_CANDIDATES:
        raise InputError(f"images must be {asking.MAX_CANDIDATES} at most; got {len(images)}")
    return [digits.as_digit(digits.read(digits.decoded(image))) for image in images]


def _progress(item: Any, before: dict[str, Any]) -> dict[str, Any]:
    """The progress of a running chain; a heartbeat has none."""
    if not isinstance(item, Moment):
        return before
    return {"step": item.step, "n_steps": item.n_steps, "mean_energy": item.mean_energy}


def _input(name: str, schema: dict[str, Any], description: str, default: Any = None) -> Api:
    return Api(default, {**schema, "description": description}, label=name)
