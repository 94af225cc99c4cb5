"""The commands that `kills.py` kills, on tiny models, digits and a stand-in Hub, in the process that dies."""

import os
import signal
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ebm_refine import catalogue
from ebm_refine.cli import main as command_line

COMMANDS = ("refine", "evaluate", "train", "search", "push")
REPO, STUDY = "org/new", "mnist-grid"
MODEL = ["--model", "tiny", "--method", "langevin"]


class Death(NamedTuple):
    """Where a process ends itself: before or after its call number `moment` of those that `_deadly` counts."""

    moment: int
    before: bool


def arguments(command: str) -> list[str]:
    """The command line, for a process in its own folder."""
    return {
        "refine": ["refine", *MODEL, "--n-steps", "30", "--num-images", "8", "--out", "out"],
        "evaluate": ["evaluate", "--model", "tiny", "--methods", "langevin", "--ratios", "raw", "--num-images", "40",
                     "--sweep", "eps=0.05/0.1,n-steps=2", "--seeds", "0,1", "--out", "out"],
        "train": ["train", "toy-moons-gan", "--steps", "60", "--runs", "runs", "--out", "out", "--resume"],
        "search": ["search", "--storage", "search.journal", "--trials", "1", "--batches", "3", "--num-images", "20"],
        "push": ["push", "embedded/tiny", REPO],
    }[command]  # fmt: skip


def live(command: str, folder: str, hub: str | None, death: Death | None) -> None:
    """Run a command in `folder`, as far as it comes; how many deadly calls it made is left in the file `calls`."""
    os.chdir(folder)
    torch.set_num_threads(1)
    catalogue.EMBEDDED = Path("embedded")
    if command == "train":
        _small_training()
    if command == "search":
        _small_search()
    if hub is not None:
        _small_hub(hub)
    with open("log", "a") as log, redirect_stdout(log), redirect_stderr(log):
        calls = _deadly(death)
        status = command_line(arguments(command))
        log.flush()
    with open("calls", "w") as file:
        file.write(str(calls[0]))
        file.flush()
    os._exit(status)


def _deadly(death: Death | None) -> list[int]:
    """Let this process die at that call; gives the number of calls so far, in a list."""
    from huggingface_hub.utils import get_session

    count = [0]

    def counted(owner: Any, name: str, cut_short: bool = False) -> None:
        original = getattr(owner, name)

        def call(*given: Any, **options: Any) -> Any:
            mine, count[0] = count[0], count[0] + 1
            if death == (mine, True):
                if cut_short:  # of a file and its content
                    original(given[0], given[1][: len(given[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*given, **options)
            if death == (mine, False):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, call)

    for name in ("replace", "rename", "fsync", "unlink", "symlink"):
        counted(os, name)
    for name in ("write_text", "write_bytes"):
        counted(Path, name, cut_short=True)
    counted(type(get_session()), "send")
    return count


def _small_training() -> None:
    from ebm_refine.training.algorithms import plane_loop
    from ebm_refine.training.pipelines import toy_model

    plane_loop.REPORT_EVERY = plane_loop.SAVE_EVERY = 20
    toy_model.REPORT_POINTS = 400
    whole: Any = toy_model.Toy
    toy_model.Toy = lambda dataset, family, settings, *rest: whole(  # type: ignore[assignment,misc]
        dataset, family, settings._replace(ratio_steps=40), *rest
    )


def _small_search() -> None:
    from optuna.storages.journal import JournalFileSymlinkLock

    from ebm_refine.data.images import Images
    from ebm_refine.metrics.features import FeatureExtractor
    from ebm_refine.models.checkpoint import Checkpoint
    from ebm_refine.models.networks.resnet import ResNetClassifier
    from ebm_refine.training.grid_search import search, study
    from ebm_refine.training.grid_search.search_space import Setting

    torch.manual_seed(0)
    sizes = {"in_channels": 1, "widths": [4, 4, 4], "classes": 10}
    config = {"data": {"shape": [1, 28, 28]}, "parts": {"features": {"arguments": sizes, "sha256": "0" * 64}}}
    extractor = FeatureExtractor(Checkpoint("small", Path(), config, {"features": ResNetClassifier(**sizes).eval()}))
    digits = torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    small = Setting("gan", 2, 2, 16, 16, False, "adam", "adam", 0.001)
    train, work = search.train_setting, study.work
    changed: dict[str, Any] = {
        "load_images": lambda *_: Images(digits, None),
        "features_for": lambda _: extractor,
        "train_setting": lambda setting, budget, *rest: train(
            small._replace(family=setting.family), budget._replace(batch_size=16), *rest
        ),
        # A killed worker's trial, and its lock, are given up after a second and not after minutes.
        "work": partial(work, beat=0.1),
    }
    for name, value in changed.items():
        setattr(search, name, value)
    JournalFileSymlinkLock.__init__.__defaults__ = (1,)


def _small_hub(url: str) -> None:
    from huggingface_hub import constants

    os.environ.update(HF_ENDPOINT=url, HF_TOKEN="hf_write", NO_PROXY="*")
    constants.HF_HUB_DISABLE_XET = True
    constants.HF_HUB_OFFLINE = False
    constants.HF_HUB_CACHE = str(Path("cache").resolve())
