"""`refine`: a run from flags, or again from the `settings.json` of an earlier one."""

import argparse
import json
import sys
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from ebm_refine.cli.flags import add_device, add_settings, number, settings_of
from ebm_refine.cli.own_models import MODEL_HELP, model_named
from ebm_refine.energies.density_ratio import RATIOS
from ebm_refine.errors import InputError
from ebm_refine.parameters import shorten
from ebm_refine.samplers import METHODS

# Options allowed with --like: the output folder and, for a user's own model, the function that makes it.
BESIDE_LIKE = ("command", "run", "model", "like", "out")
MAX_BYTES, MAX_THREADS = 2**20, 4096


def add_refine(commands: Any) -> None:
    refine = commands.add_parser("refine", help="sample a model and write images before and after")
    refine.add_argument("--model", help=MODEL_HELP)
    refine.add_argument("--like", metavar="FILE", help="repeat the run of this settings.json to the bit, or report why not")
    refine.add_argument("--method", help=f"one of {', '.join(METHODS)}; without it the model's default")
    add_settings(refine)
    refine.add_argument("--seed", default="0")
    refine.add_argument("--num-images", default="64")
    refine.add_argument("--ratio", default="auto", help=f"auto, {', '.join(RATIOS)}")
    refine.add_argument("--out", required=True, help="folder for the five files")
    add_device(refine)
    refine.set_defaults(run=partial(_refine, refine))


def _refine(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    from ebm_refine.metrics.features import features_for
    from ebm_refine.metrics.points import compare_points
    from ebm_refine.metrics.ratio_spread import spread_entry
    from ebm_refine.metrics.report import compare
    from ebm_refine.models.kinds import is_points
    from ebm_refine.pipeline import stream
    from ebm_refine.result import RefineResult
    from ebm_refine.utils.atomic_io import writable_folder

    arguments = _from_flags(chosen) if chosen.like is None else _from_file(parser, chosen)
    checkpoint = model_named(arguments.pop("model"))
    stages = stream(checkpoint, **arguments)
    writable_folder(chosen.out)
    result: Any = None
    for stage in _with_bar(stages):
        result = stage
    assert isinstance(result, RefineResult)
    dataset = checkpoint.config["data"]["dataset"]
    try:
        if is_points(checkpoint.config):
            metrics = compare_points(result.before, result.after, dataset)
        else:
            metrics = compare(result.before, result.after, features_for(dataset))
    except InputError as error:  # no extractor for this data: the run is still worth its files
        metrics = {"note": str(error)}
    metrics |= spread_entry(checkpoint, result.before, result.after, result.settings.ratio)
    result.save(chosen.out, metrics)
    print(f"wrote {chosen.out}: before.png after.png samples.npz settings.json metrics.json")
    return 0


def _from_flags(chosen: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `stream`; their values are checked there."""
    if chosen.model is None:
        raise InputError("refine needs --model, or --like with the settings.json of an earlier run")
    return {
        "model": chosen.model,
        "method": chosen.method,
        "num_images": number(chosen.num_images),
        "seed": number(chosen.seed),
        "ratio": chosen.ratio,
        "device": chosen.device,
        "precision": chosen.precision,
        **settings_of(chosen),
    }


def _from_file(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `stream` in a settings.json, its environment among them; PyTorch gets the recorded number of threads."""
    import torch

    from ebm_refine.pipeline import stream

    for name, value in vars(chosen).items():
        if name not in BESIDE_LIKE and value != parser.get_default(name):
            raise InputError(f"--like repeats a run as it was: leave out --{name.replace('_', '-')}")
    file = Path(chosen.like)
    try:
        with file.open("rb") as opened:
            arguments = json.loads(opened.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise InputError(
            f"--like takes the settings.json of an earlier run; {chosen.like!r} cannot be read: {reason}"
        ) from None
    if not isinstance(arguments, dict) or not isinstance(arguments.get("model"), str):
        raise InputError(f"--like takes the settings.json of a run; {chosen.like!r} names no model")
    known = signature(stream).parameters
    for name in arguments:
        if name not in known:
            raise InputError(f"{chosen.like!r} holds {shorten(name)}, which is no setting of a run")
    if not isinstance(arguments.get("environment"), dict):
        raise InputError(f"{chosen.like!r} does not say where it was computed (environment), so its bits cannot be repeated")
    threads = arguments["environment"].get("threads")
    if isinstance(threads, int) and not isinstance(threads, bool) and 1 <= threads <= MAX_THREADS:
        torch.set_num_threads(threads)
    return arguments if chosen.model is None else {**arguments, "model": chosen.model}


def _with_bar(stages: Any) -> Any:
    from tqdm import tqdm

    with tqdm(unit="step", leave=False, disable=not sys.stderr.isatty()) as bar:
        for stage in stages:
            if hasattr(stage, "n_steps"):
                bar.total, bar.n = stage.n_steps, stage.step
                bar.refresh()
            yield stage
