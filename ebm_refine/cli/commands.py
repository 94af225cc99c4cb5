"""The command line. Bad input gives one clear line on standard error and exit status 2."""

import argparse
import errno
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ebm_refine.cli.flags import add_device, add_settings, number, settings_of, sweep_of
from ebm_refine.cli.own_models import MODEL_HELP, add_fit_ratio, add_import, measuring_named, model_named
from ebm_refine.cli.refine_command import add_refine
from ebm_refine.errors import InputError
from ebm_refine.parameters import Parameter

BUDGET = Parameter("budget", "float", None, 1.0, 100_000.0, unit="gradient evaluations an image")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for bad input, 1 where the disk fails, 130 or 143 where it was stopped."""
    before = None
    with suppress(ValueError):  # only the main thread may
        before = signal.signal(signal.SIGTERM, _stop)
    try:
        chosen = _parser().parse_args(arguments)
        return chosen.run(chosen)
    except InputError as error:
        print(f"ebm_refine: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, _Terminated) as stop:
        print("ebm_refine: stopped; run the same command again to go on (training: with --resume)", file=sys.stderr)
        return 143 if isinstance(stop, _Terminated) else 130
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            raise
        where = f": {error.filename}" if error.filename else ""
        print(f"ebm_refine: {error.strerror}{where}; nothing is half-written, run the command again to go on", file=sys.stderr)
        return 1
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


class _Terminated(BaseException):
    """SIGTERM came. It unwinds like Ctrl-C, so that temporary files go."""


def _stop(*_: object) -> NoReturn:
    raise _Terminated


class _Parser(argparse.ArgumentParser):
    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        # argparse takes -1e-3 and -inf for unknown flags, and would say of --eps that its value is missing.
        self._negative_number_matcher = re.compile(r"^-(\d|\.\d|inf|nan)", re.IGNORECASE)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ebm_refine", description=__import__("ebm_refine").__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    models = commands.add_parser("models", help="list the embedded models")
    models.set_defaults(run=_models)

    add_refine(commands)

    evaluate = commands.add_parser("evaluate", help="measure methods against real images; resumable")
    evaluate.add_argument("--model", required=True, help=MODEL_HELP)
    evaluate.add_argument("--methods", required=True, help="comma-separated")
    add_settings(evaluate)
    evaluate.add_argument("--num-images", default="5000")
    evaluate.add_argument("--seeds", default="0", help="comma-separated")
    evaluate.add_argument("--ratios", help="comma-separated; without it all that the model has")
    evaluate.add_argument("--sweep", help="lists of values, as in eps=0.1/0.01,n-steps=10/20; also draws them")
    evaluate.add_argument("--budget", help="gradient evaluations an image, in place of --n-steps: equal for every method")
    evaluate.add_argument("--controls", action="store_true", help="also mala at beta 0, and truncated priors")
    evaluate.add_argument("--split", default="test", help="reference images: test, or holdout to choose settings")
    evaluate.add_argument("--fid", action="store_true", help="Inception-v3 FID too; downloads weights and reference images")
    evaluate.add_argument("--panel", action="store_true", help="also a verdict by encoders of several kinds")
    evaluate.add_argument("--data", help="reference images for --fid: a folder or a Hub data set; else the model's own")
    evaluate.add_argument("--real", help="real samples of your own: a folder of pictures, parquet files, a Hub data set, .npy")
    evaluate.add_argument(
        "--extractor", default="auto", help="with --real: auto (and a verdict by the kinds that fit) or inception"
    )
    evaluate.add_argument("--out", required=True)
    add_device(evaluate)
    evaluate.set_defaults(run=_evaluate)

    add_fit_ratio(commands)

    train = commands.add_parser("train", help="train a model from its recipe; resumable")
    train.add_argument("recipe", help="the recipe's name; an unknown name lists all")
    train.add_argument("--model", help="the model that a ratio recipe starts from")
    train.add_argument("--data", help="folder of parquet files, or a Hub data set; without it the data set's own Hub id")
    train.add_argument("--steps", help="training length in the recipe's unit; without it the recipe's own")
    train.add_argument("--seed", default="0")
    train.add_argument("--device", default="cpu")
    train.add_argument("--runs", default="runs", help="folder of resumable states")
    train.add_argument("--out", default="checkpoints", help="folder that receives the finished checkpoint")
    train.add_argument("--resume", action="store_true", help="continue the run in the runs folder")
    train.set_defaults(run=_train)

    monitor = commands.add_parser("monitor", help="diagnose a training run, and draw its curves")
    monitor.add_argument("folder", help="the run's folder, which holds log.jsonl: runs/RECIPE")
    monitor.add_argument("--out", help="where the curves go (SVG); without it monitor.svg in the run's folder")
    monitor.set_defaults(run=_monitor)

    search = commands.add_parser("search", help="work on the grid search of GANs and EBGANs; resumable, any number at once")
    search.add_argument("--data", help="folder of parquet files, or a Hub data set; without it MNIST's own Hub id")
    search.add_argument("--study", default="mnist-grid", help="name of the study")
    search.add_argument("--storage", default="runs/search.journal", help="the file that all workers share")
    search.add_argument("--trials", default="40", help="settings of each family, drawn once")
    search.add_argument("--batches", default="400", help="batches a trial")
    search.add_argument("--num-images", default="1000", help="generated digits for each score")
    search.add_argument("--seed", default="0", help="of the list of trials, and of each")
    search.add_argument("--minutes", help="begin no trial after this time; without it work until all are done")
    search.set_defaults(run=_search)

    add_import(commands)

    push = commands.add_parser("push", help="publish a checkpoint folder on the Hub")
    push.add_argument("folder")
    push.add_argument("repo", help="owner/name; made if it is not there")
    push.add_argument("--private", action="store_true")
    push.set_defaults(run=_push)
    return parser


def _models(chosen: argparse.Namespace) -> int:
    from ebm_refine.catalogue import list_models

    for model in list_models():
        shape = "x".join(map(str, model.shape))
        print(f"{model.name:24} {model.kind:10} {model.dataset:10} {shape:10} {', '.join(model.methods) or '-'}")
    return 0


def _evaluate(chosen: argparse.Namespace) -> int:
    from ebm_refine.evaluation.jobs import controls, evaluate, plan
    from ebm_refine.evaluation.sharding import this_process
    from ebm_refine.evaluation.tables import table
    from ebm_refine.metrics.panel import report_text

    checkpoint = model_named(chosen.model)
    num_images, seeds = number(chosen.num_images), [number(seed) for seed in chosen.seeds.split(",")]
    budget = None if chosen.budget is None else BUDGET.parse_text(chosen.budget)
    ratios = chosen.ratios.split(",") if chosen.ratios else None
    sweep, given = sweep_of(chosen.sweep), settings_of(chosen)
    jobs: list[Any] = [*plan(checkpoint, chosen.methods.split(","), num_images, seeds, ratios, sweep, given, budget)]
    if chosen.controls:
        jobs += controls(checkpoint, num_images, seeds, budget)
    share = this_process()
    device = _device(share.device or chosen.device)
    fid = _fid(checkpoint.config["data"]["dataset"], chosen.data, device) if chosen.fid else None
    evaluator, panel = measuring_named(checkpoint, chosen, jobs)
    results = evaluate(
        checkpoint, jobs, chosen.out, chosen.split, device, partial(print, flush=True), fid, share,
        precision=chosen.precision, pictures=bool(sweep), evaluator=evaluator, panel=panel or False,
    )  # fmt: skip
    if share.index == 0:
        print(table(results))
        print(*(f"\n{row['method']}, {report_text(row)}" for row in results.get("panel", {}).get("rows", [])), sep="\n")
    return 0


def _fid(dataset: str, data: str | None, device: str) -> Any:
    from ebm_refine.metrics.fid import open_inception, reference_moments
    from ebm_refine.models.model_card import HUB_DATASETS

    if data is None and dataset not in HUB_DATASETS:
        raise InputError(f"no Hub data set is known for {dataset!r}: name one with --data")
    inception = open_inception(device=device)
    moments = reference_moments(inception, data or HUB_DATASETS[dataset])
    return lambda images: inception.fid(images, moments)


def _train(chosen: argparse.Namespace) -> int:
    from ebm_refine.catalogue import load
    from ebm_refine.training.pipelines.train import train

    model = None if chosen.model is None else load(chosen.model)
    steps = None if chosen.steps is None else number(chosen.steps)
    folder = train(
        chosen.recipe, data=chosen.data, model=model, steps=steps, seed=number(chosen.seed),
        device=_device(chosen.device), runs=Path(chosen.runs), out=Path(chosen.out), resume=chosen.resume,
    )  # fmt: skip
    print(f"wrote {folder}")
    return 0


def _monitor(chosen: argparse.Namespace) -> int:
    from ebm_refine.training.common import monitor

    folder = Path(chosen.folder)
    records = monitor.read_log(folder)
    for problem, remedy in (found := monitor.findings(records)):
        print(f"{problem}\n  {remedy}")
    if not found and len(records) < monitor.FEWEST:
        print(f"too few records to find a fault: {len(records)}, where {monitor.FEWEST} are the least")
    elif not found:
        print(f"nothing found wrong in {len(records)} records")
    file = Path(chosen.out) if chosen.out else folder / "monitor.svg"
    monitor.draw(records, file, folder.name)
    print(f"wrote {file}")
    return 0


def _search(chosen: argparse.Namespace) -> int:
    import torch

    from ebm_refine.training.grid_search import search

    torch.set_num_threads(1)  # a worker is one thread: start more workers, not wider ones
    asked = search.Search(
        chosen.data, Path(chosen.storage), chosen.study, search.TRIALS.parse(number(chosen.trials)),
        search.BATCHES.parse(number(chosen.batches)), search.NUM_IMAGES.parse(number(chosen.num_images)),
        search.SEED.parse(number(chosen.seed)),
    )  # fmt: skip
    minutes = None if chosen.minutes is None else search.MINUTES.parse(number(chosen.minutes))
    study = search.search(asked, minutes, partial(print, flush=True))
    print(f"{len(study.results())} of {len(study.settings)} trials of study {asked.study!r} are done")
    return 0


def _push(chosen: argparse.Namespace) -> int:
    from ebm_refine.models.hub import push

    print(push(chosen.folder, chosen.repo, private=chosen.private))
    return 0


def _device(name: str) -> str:
    from ebm_refine.utils.devices import check_device

    return check_device(name)
