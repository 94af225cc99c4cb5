"""From raw values to an answer of an energy: check them, then compute in the background, in bounded time, on the one device."""

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.catalogue import ModelInfo
from ebm_refine.errors import InputError
from ebm_refine.parameters import Parameter, listed, shorten
from ebm_refine.result import Frame
from ebm_refine.settings import COMMON, Settings
from ebm_refine.tasks import energy_model as answers
from ebm_refine.tasks import masks, row_decoding
from ebm_refine.tasks.energy_model import Chains, EnergyModel
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.background import bounded
from ebm_refine.ui.runtime.model_cache import cached_model, known_models
from ebm_refine.ui.runtime.zero_gpu import borrows_gpu
from ebm_refine.ui.tabs.refine.job import LIVE_EVERY, device

# Digits are prepared for models of this size, as those of MNIST are.
SIDE = 28
# Images that one question may bring; a row of digits is as long at most.
MAX_CANDIDATES = 16
SIGMA = Parameter("sigma", "float", 0.5, 0.01, 2.0, help="width of the noise, where black to white is 2")
SHARE = Parameter("share", "float", 0.5, 0.0, 1.0, help="share of the pixels that is missing")
BETA = Parameter("beta", "float", 1.0, 0.0, 100.0, help="p(y|x) is proportional to exp(-beta E(x, y)); 0 is no preference")
WEIGHT = Parameter("weight", "float", 5.0, 0.0, 1000.0, help="energy that a pair of neighbours costs where it breaks the rule")
SEED = next(row for row in COMMON if row.name == "seed")
RULE = Parameter(
    "rule", "choice", "none", choices=tuple(row_decoding.RULES), help="what neighbours in the row are expected to do"
)


class Cost(NamedTuple):
    """What a question without chains costs, in the words of `space.seconds_for`."""

    num_images: int
    n_steps: int


class Question(NamedTuple):
    """One question, checked: picklable, on the CPU. `settings` are those of its chains, or what it costs."""

    name: str
    model: str
    settings: Any
    details: dict[str, Any]


class Moment(NamedTuple):
    """Chains after `step` of `n_steps` transitions: images (K <= 64, 1, H, W) uint8, and the mean energy of all chains."""

    step: int
    n_steps: int
    images: Tensor
    mean_energy: float


Answer = Chains | answers.Detection | answers.Ranking | answers.Classification | answers.Row


def energy_models() -> dict[str, ModelInfo]:
    """The embedded models that can be asked, by name."""
    fitting = (model for model in known_models() if answers.can_answer(model.config) and model.shape[-1] == SIDE)
    return {model.name: model for model in fitting}


def first_energy() -> ModelInfo:
    """The model that the page opens with: one that can be asked everything, or else the first there is."""
    return next(iter([*labelled_models().values(), *energy_models().values()]))


def labelled_models() -> dict[str, ModelInfo]:
    """Those of them that know labels."""
    return {name: model for name, model in energy_models().items() if answers.classes_of(model.config)}


# --- Questions, checked. Each raises InputError, one sentence, for what does not fit. --------------------------------------


def sampling(model: Any, sampler: Any, class_label: Any = None, **arguments: Any) -> Question:
    info = model_asked(model)
    settings = _settings(info, sampler, arguments)
    classes = answers.classes_of(info.config)
    if class_label is not None and not classes:
        raise InputError(f"model {info.name!r} has no labels, so class_label must be left out; got {shorten(class_label)}")
    if class_label is not None:
        class_label = Parameter("class_label", "int", 0, 0, classes - 1).parse(class_label)
    return Question("sample", info.name, settings, {"label": class_label})


def completion(model: Any, digit: Tensor, mask: Any, share: Any, sampler: Any, **arguments: Any) -> Question:
    """`mask` is one of `masks.NAMES`, of which `share` is covered, or rows of 0 and 1."""
    info = model_asked(model)
    settings = _settings(info, sampler, arguments)
    if isinstance(mask, str) and mask in masks.NAMES:
        missing = masks.mask(mask, SHARE.parse(SHARE.default if share is None else share), SIDE, settings.seed)
    else:
        missing = masks.mask_from_rows(mask, SIDE)
    masks.check(missing)
    return Question("complete", info.name, settings, {"digit": digit, "missing": missing})


def denoising(model: Any, digit: Tensor, sigma: Any, sampler: Any, **arguments: Any) -> Question:
    info = model_asked(model)
    settings = _settings(info, sampler, arguments)
    return Question("denoise", info.name, settings, {"digit": digit, "sigma": SIGMA.parse(sigma)})


def detection(model: Any, digit: Tensor) -> Question:
    return Question("detect", model_asked(model).name, Cost(6 * answers.DRAWN_REFERENCE, 1), {"digit": digit})


def ranking(model: Any, images: Tensor) -> Question:
    return Question("rank", model_asked(model).name, Cost(len(images), 1), {"images": images})


def classification(model: Any, images: Tensor, beta: Any) -> Question:
    info = _labelled(model)
    return Question("classify", info.name, Cost(len(images), 1), {"images": images, "beta": BETA.parse(beta)})


def row_question(model: Any, images: Tensor, rule: Any, weight: Any) -> Question:
    info = _labelled(model)
    details = {"images": images, "rule": RULE.parse(rule), "weight": WEIGHT.parse(weight)}
    return Question("read", info.name, Cost(len(images), 1), details)


def model_asked(name: Any) -> ModelInfo:
    """The embedded energy of that name. Raises InputError."""
    models = energy_models()
    if not isinstance(name, str) or name not in models:
        raise InputError(f"model must be one of {listed(models) or '(no energy of digits is embedded)'}; got {shorten(name)}")
    return models[name]


def _labelled(name: Any) -> ModelInfo:
    info = model_asked(name)
    if not answers.classes_of(info.config):
        known = ", ".join(labelled_models()) or "none is embedded"
        raise InputError(f"model {info.name!r} has no labels; this question needs an energy E(x, y): {known}")
    return info


def _settings(info: ModelInfo, sampler: Any, arguments: dict[str, Any]) -> Settings:
    return limits.check(answers.chain_settings(info.name, info.config, sampler, **arguments))


# --- Answers ---------------------------------------------------------------------------------------------------------------


def ask(question: Question) -> Generator[Moment | Answer | None, None, None]:
    """Yield moments of chains about ten times a second, then the answer; None every fifth of a second. Close it to stop."""
    with closing(bounded(lambda: _work(question.settings, question))) as news:
        yield from news


@borrows_gpu
def _work(settings: Any, question: Question) -> Generator[Moment | Answer, None, None]:
    model, details = EnergyModel(cached_model(question.model), device()), question.details
    if question.name == "sample":
        yield from _paced(model, answers.sample(model, settings, details["label"]))
    elif question.name == "complete":
        yield from _paced(model, answers.complete(model, details["digit"], details["missing"], settings))
    elif question.name == "denoise":
        noisy = answers.noisy(model, details["digit"], details["sigma"], settings.seed)
        yield from _paced(model, answers.denoise(model, noisy, details["sigma"], settings))
    elif question.name == "detect":
        yield answers.detect(model, details["digit"])
    elif question.name == "rank":
        yield answers.rank(model, details["images"])
    elif question.name == "classify":
        yield answers.classify(model, details["images"], details["beta"])
    else:
        yield answers.read(model, details["images"], details["rule"], details["weight"])


def _paced(model: EnergyModel, stages: Generator[Frame | Chains, None, None]) -> Generator[Moment | Chains, None, None]:
    """The first moment and the end, and of the rest as many as eyes can follow."""
    shown = 0.0
    for stage in stages:
        if isinstance(stage, Chains):
            yield stage
        elif stage.step == 0 or time.monotonic() - shown >= LIVE_EVERY:
            yield Moment(stage.step, stage.n_steps, model.target.decode(stage.positions.to(model.device)), stage.mean_energy)
            shown = time.monotonic()


def stacked(images: list[Tensor], least: int, most: int = MAX_CANDIDATES) -> Tensor:
    """Digits (N, 1, H, W) of one question, of which there must be from `least` to `most`."""
    if not least <= len(images) <= most:
        wanted = f"{least}" if least == most else f"from {least} to {most}"
        raise InputError(f"images must be {wanted} for this question; got {len(images)}")
    return torch.stack(images)
