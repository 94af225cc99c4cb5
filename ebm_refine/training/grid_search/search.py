"""The search over the published grid, as one worker runs it: `python -m ebm_refine search`; start as many as there are cores.

A trial trains one setting for a fixed number of batches and scores its digits with the embedded classifier of digits. Its
score is mean_x KL(p(y|x) || p(y)), 0 to log 10; beside it the other way round, as the paper has it (arXiv 1609.03126, section
4.1: KL(p(y) || p(y|x)), without the exponential), which has no upper bound and is ruled by the surest digits.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from ebm_refine.data.images import load_images
from ebm_refine.metrics.class_scores import class_report
from ebm_refine.metrics.features import FeatureExtractor, features_for
from ebm_refine.parameters import Parameter
from ebm_refine.training.grid_search.grid_gan import Budget, generated, own_seed, train_setting
from ebm_refine.training.grid_search.search_space import Setting
from ebm_refine.training.grid_search.study import Plan, Study, work
from ebm_refine.utils.atomic_io import replacing, writable_folder

TRIALS = Parameter("trials", "int", 40, 1, 6144, unit="of each family")
BATCHES = Parameter("batches", "int", 400, 1, 10_000_000)
NUM_IMAGES = Parameter("num_images", "int", 1000, 2, 50_000)
SEED = Parameter("seed", "int", 0, 0, 2**32 - 1)
MINUTES = Parameter("minutes", "float", None, 0.0, 1e6)
GRID = 64


class Search(NamedTuple):
    """What a search is asked for; `journal` is the file that its workers share, pictures go into a folder beside it."""

    data: str | None
    journal: Path
    study: str = "mnist-grid"
    trials: int = TRIALS.default
    batches: int = BATCHES.default
    num_images: int = NUM_IMAGES.default
    seed: int = SEED.default

    @property
    def budget(self) -> Budget:
        return Budget(self.batches, num_images=self.num_images)

    def pictures(self) -> Path:
        return self.journal.with_suffix("") / self.study


def search(asked: Search, minutes: float | None = None, log: Callable[[str], None] = print) -> Study:
    """Work on the search until it is done, or begin no trial after `minutes`. Raises InputError for bad input."""
    digits, extractor = load_images("mnist", asked.data, "train").pixels, features_for("mnist")
    study = open_study(asked, digits, extractor)
    pictures = writable_folder(asked.pictures())
    limit = None if minutes is None else 60 * minutes
    work(study, lambda setting: trial(setting, asked, digits, extractor, pictures), limit=limit, log=log)
    return study


def open_study(asked: Search, digits: Tensor, extractor: FeatureExtractor) -> Study:
    """The search's study; its identity holds budget, training digits (N, 1, 28, 28) uint8 and classifier too."""
    conditions = {
        **asked.budget._asdict(),
        "training images": hashlib.sha256(digits.contiguous().numpy().tobytes()).hexdigest(),
        "classifier": extractor.sha256,
    }
    return Study(asked.journal, Plan(asked.study, asked.trials, asked.seed, conditions))


def trial(setting: Setting, asked: Search, digits: Tensor, extractor: FeatureExtractor, pictures: Path) -> dict[str, Any]:
    """Train, score, and leave a grid of the first 64 digits; on one machine a function of setting, budget and seed."""
    began, spent = time.monotonic(), time.process_time()
    generator = train_setting(setting, asked.budget, digits, asked.seed)
    images = generated(generator, asked.num_images, asked.seed)
    picture = pictures / picture_name(setting, asked.seed)
    with replacing(picture) as temporary:
        _grid(images[:GRID]).save(temporary, format="png", optimize=True)
    return {
        **score(images, extractor),
        "parameters": sum(one.numel() for one in generator.parameters()),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - spent, 1),
    }


def picture_name(setting: Setting, seed: int) -> str:
    return f"{setting.family}-{own_seed(setting, seed):08x}.png"


def score(images: Tensor, extractor: FeatureExtractor) -> dict[str, Any]:
    """Both scores of uint8 images, the mean of the largest p(y|x), and the images by most probable class."""
    report = class_report(images, extractor)
    return {
        "score": report["kl_to_marginal"],
        "reversed_score": report["kl_from_marginal"],
        "mean_confidence": report["mean_confidence"],
        "histogram": report["histogram"],
    }


def _grid(images: Tensor) -> Image.Image:
    """uint8 digits (N, 1, 28, 28) in one grey picture."""
    return Image.fromarray(make_grid(images, nrow=8, padding=1)[0].numpy())
