"""One resumable list of jobs behind every table and sweep: (method, ratio, settings, seed) -> measures of base and refined.

Each finished job is a JSON file in `OUT/jobs`, so a run that is started again does only what is missing, and several processes
share one list; then `results.json` and `table.md` are written, of a sweep also its heat map and pictures. Base (the generator
alone) is measured in every job on the same seeds, so differences are paired.
"""

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from ebm_refine import render
from ebm_refine.energies.density_ratio import available_ratios
from ebm_refine.errors import InputError
from ebm_refine.evaluation import sweeps
from ebm_refine.evaluation.baselines import drawn
from ebm_refine.evaluation.best_of import BestOf, tries_within
from ebm_refine.evaluation.evidence import Evidence, panel_table
from ebm_refine.evaluation.sampling import Sampled, sampled_in_parts
from ebm_refine.evaluation.sharding import Share
from ebm_refine.evaluation.tables import main_distance, summarise, table
from ebm_refine.evaluation.truncation import THRESHOLD, Truncation
from ebm_refine.metrics.evaluator import Evaluator, image_evaluator, point_evaluator
from ebm_refine.metrics.panel_store import Panel
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points, law_of
from ebm_refine.samplers.cost import steps_within
from ebm_refine.settings import Settings, resolve
from ebm_refine.utils.atomic_io import replacing, writable_folder
from ebm_refine.utils.devices import check_device, dtype_for

SWEEPABLE = ("eps", "n_steps", "beta", "temperature")
CONTROL_BUDGET = 25.0
THRESHOLDS = (0.5, 1.0, 1.5, 2.0)
LOOK_EVERY = 1.0
# So many images of a job are saved as a picture, if pictures are requested.
PICTURED = 8

Job = Settings | Truncation | BestOf


class StoppedError(Exception):
    """The evaluation was asked to stop between two of its jobs."""


class _Execution(NamedTuple):
    """Device and precision of a job: arguments of `refine`."""

    device: str
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        return dtype_for(self.precision, self.device)


def plan(
    checkpoint: Checkpoint,
    methods: Sequence[str],
    num_images: int,
    seeds: Sequence[int],
    ratios: Sequence[str] | None = None,
    sweep: dict[str, Sequence[float]] | None = None,
    given: dict[str, Any] | None = None,
    budget: float | None = None,
) -> list[Settings]:
    """The checked settings of every job: methods x ratios (None: all that the model has) x sweep values x seeds.

    `given` are further arguments of `refine` that all jobs share. `budget`: each method makes as many steps as cost at most so
    many gradient evaluations an image (`samplers.cost`). Raises InputError at the first setting out of range.
    """
    sweep = {name.replace("-", "_"): values for name, values in (sweep or {}).items()}
    for name in sweep:
        if name not in SWEEPABLE:
            raise InputError(f"sweep must be over one of {', '.join(SWEEPABLE)}; got {name!r}")
    if not methods or not seeds:
        raise InputError("evaluate needs at least one method and one seed")
    if budget is not None and ("n_steps" in sweep or (given or {}).get("n_steps") is not None):
        raise InputError("give either a budget or n_steps: the budget says how many steps each method makes")
    jobs = []
    for method, ratio in itertools.product(methods, ratios or available_ratios(checkpoint.config) or ("auto",)):
        for values in itertools.product(*sweep.values()):
            swept = dict(zip(sweep, values, strict=True))
            for seed in seeds:
                arguments: dict[str, Any] = {**(given or {}), **swept, "num_images": num_images, "seed": seed}
                job = resolve(checkpoint.name, checkpoint.config, method=method, ratio=ratio, **arguments)
                if budget is not None:
                    job = job.changed(n_steps=steps_within(job.method, job.values, budget))
                if job not in jobs:  # a method that ignores a swept value would otherwise be run once for each
                    jobs.append(job)
    return jobs


def controls(
    checkpoint: Checkpoint,
    num_images: int,
    seeds: Sequence[int],
    budget: float | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[Job]:
    """Baselines: `mala` at beta = 0, which must reproduce base; the prior truncated; the best of n draws by r at equal cost.

    Raises InputError for a model without a generator and a ratio.
    """
    if law_of(checkpoint.config) != "pair":
        raise InputError(f"the controls are for a pair of generator and ratio, which {checkpoint.name!r} is not")
    jobs: list[Job] = [*plan(checkpoint, ["mala"], num_images, seeds, ["auto"], given={"beta": 0.0}, budget=budget)]
    if checkpoint.config["prior"]["name"] == "normal":
        jobs += [
            Truncation(checkpoint.name, num_images, seed, THRESHOLD.parse(threshold))
            for threshold in thresholds
            for seed in seeds
        ]
    tries = tries_within(CONTROL_BUDGET if budget is None else budget)
    ratio = checkpoint.config.get("defaults", {}).get("ratio") or available_ratios(checkpoint.config)[-1]
    return [*jobs, *(BestOf(checkpoint.name, num_images, seed, tries, ratio) for seed in seeds)]


def evaluate(
    checkpoint: Checkpoint,
    jobs: Sequence[Job],
    out: str | Path,
    split: str = "test",
    device: str = "cpu",
    progress: Callable[[str], None] = print,
    fid: Callable[[Tensor], float] | None = None,
    share: Share | None = None,
    stopping: Callable[[], bool] = lambda: False,
    precision: str = "auto",
    pictures: bool = False,
    evaluator: Evaluator | None = None,
    panel: bool | Panel = False,
) -> dict[str, Any]:
    """Run the jobs that are not done yet and write `results.json` and `table.md` into `out`; returns the results.

    `split` is the reference, "test" or "holdout" (settings are chosen on holdout and reported once on test); points are
    compared with their own law; `evaluator` replaces that of the data set (`metrics.own_evaluator`). `fid` gives the
    Inception-v3 FID of uint8 images (`metrics.fid`), as a further distance. `pictures` also saves the first images of every job
    and draws each sweep over eps and n_steps (`sweeps.write`). `panel` adds a panel's verdict on each setting
    (`evaluation.evidence`): the panel of the data set, or the one given. `share` (None: all) are the jobs of this process; it
    waits for those of the others, and the first process writes. Raises StoppedError where `stopping()` is true before a job,
    and InputError where nothing can measure the model's data, where there are too few samples, where `out` cannot be written,
    or for a `device` or `precision` (as of `refine`) that this machine lacks; finished jobs stay on disk.
    """
    share = share or Share()
    execution = _Execution(check_device(device), precision)
    evaluator = evaluator or _evaluator(checkpoint, split)
    if not jobs:
        raise InputError("evaluate needs at least one job")
    if any(job.num_images < evaluator.least for job in jobs):
        raise InputError(
            f"num_images must be at least {evaluator.least} to evaluate {checkpoint.name!r}; "
            f"got {min(job.num_images for job in jobs)}: give --num-images {evaluator.least} (in Python num_images=)"
        )
    folder = writable_folder(writable_folder(out) / "jobs")
    evidence = Evidence(checkpoint, split, panel if isinstance(panel, Panel) else None) if panel else None
    keeping = pictures and not is_points(checkpoint.config)
    files = [folder / f"{_key(job, checkpoint, evaluator, execution)}{'-fid' if fid else ''}.json" for job in jobs]
    for position, (job, file) in share.of(list(enumerate(zip(jobs, files, strict=True), 1))):
        picture = file.with_suffix(".png")
        unseen = evidence is not None and not evidence.file(file).exists()
        if _finished(file, progress) is None or unseen or (keeping and not picture.exists()):
            if stopping():
                raise StoppedError(f"stopped before job {position} of {len(jobs)}; the same command continues there")
            label = f"[{position}/{len(jobs)}] {job.method} {job.ratio} seed {job.seed}"
            record, sampled = _run(checkpoint, job, evaluator, execution, label, progress, fid, file)
            if evidence is not None:
                evidence.keep(sampled.before, sampled.after, file)
            if keeping:
                render.save_png(_pictured(sampled), picture)
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(record, indent=1))
    _wait_for(files, progress)
    finished = []
    for file in files:
        if (found := _finished(file, progress)) is None:
            raise InputError(f"{file}, which another process wrote, is damaged; run the same command again")
        finished.append(found)
    results = {
        "model": checkpoint.name,
        "weights": checkpoint.hashes,
        **evaluator.description,
        "num_images": jobs[0].num_images,
        "seeds": sorted({job.seed for job in jobs}),
        "rows": summarise(finished),
        "manifold": finished[0].get("manifold"),
        "floors": evaluator.floors(jobs[0].num_images),
    }
    if evidence is not None:
        results["panel"] = evidence.rows(finished, files)
    if share.index == 0:
        said = "\n" + panel_table(results["panel"]) if evidence is not None else ""
        for name, text in (("results.json", json.dumps(results, indent=1) + "\n"), ("table.md", table(results) + said)):
            with replacing(Path(out) / name) as temporary:
                temporary.write_text(text)
        if pictures:
            _draw_sweeps(results, finished, files, Path(out))
    return results


def _finished(file: Path, progress: Callable[[str], None]) -> dict[str, Any] | None:
    """The record of a finished job; None, and a sentence, where the file is damaged, and None where there is none."""
    try:
        record = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        record = {}
    if not isinstance(record, dict) or not {"settings", "diagnostics", "seconds"} <= record.keys():
        progress(f"{file} is damaged: that job runs again")
        return None
    return record


def _evaluator(checkpoint: Checkpoint, split: str) -> Evaluator:
    dataset = checkpoint.config["data"]["dataset"]
    return point_evaluator(dataset) if is_points(checkpoint.config) else image_evaluator(dataset, split)


def _run(
    checkpoint: Checkpoint,
    job: Job,
    evaluator: Evaluator,
    execution: _Execution,
    label: str,
    progress: Callable[[str], None],
    fid: Callable[[Tensor], float] | None,
    file: Path,
) -> tuple[dict[str, Any], Sampled]:
    started = time.monotonic()
    if isinstance(job, Truncation | BestOf):
        sampled = Sampled(*drawn(checkpoint, job, execution.device, execution.dtype))
    else:
        device, precision = execution
        sampled = sampled_in_parts(checkpoint, job, device, precision, file, lambda said: progress(f"{label}: {said}"))
    seconds = time.monotonic() - started
    measures = evaluator.measure(sampled.before, sampled.after)
    if fid:
        measures["fid"] = {"before": fid(sampled.before), "after": fid(sampled.after)}
    distance = measures[main_distance(measures)]
    before, after = (one["value"] if isinstance(one, dict) else one for one in (distance["before"], distance["after"]))
    progress(f"{label}: distance {before:.4g} before, {after:.4g} after, {seconds:.0f} s")
    record = {
        "settings": job.as_dict(),
        "diagnostics": sampled.diagnostics,
        **measures,
        "seconds": seconds,
        "ess_per_second": sampled.ess_per_second,
    }
    return record, sampled


def _pictured(sampled: Sampled) -> Image.Image:
    """The first images after a job below the same before it."""
    return render.grid(torch.cat([sampled.before[:PICTURED], sampled.after[:PICTURED]]), columns=PICTURED)


def _draw_sweeps(results: dict[str, Any], finished: Sequence[dict[str, Any]], files: Sequence[Path], out: Path) -> None:
    pictures: dict[str, Path] = {}
    for record, file in zip(finished, files, strict=True):
        pictures.setdefault(sweeps.setting_of(record["settings"]), file.with_suffix(".png"))

    def halves(row: dict[str, Any]) -> tuple[Image.Image, Image.Image] | None:
        file = pictures.get(sweeps.setting_of(row))
        if file is None or not file.exists():
            return None
        both = Image.open(file)
        middle = both.height // 2
        return both.crop((0, 0, both.width, middle + 1)), both.crop((0, middle, both.width, both.height))

    sweeps.write(results, out, halves)


def _wait_for(files: Sequence[Path], progress: Callable[[str], None]) -> None:
    """Return once every file is there: those of other processes may take a while longer."""
    announced = False
    while missing := sum(not file.exists() for file in files):
        if not announced:
            progress(f"this process is done; waiting for {missing} jobs of others")
            announced = True
        time.sleep(LOOK_EVERY)


def _key(job: Job, checkpoint: Checkpoint, evaluator: Evaluator, execution: _Execution) -> str:
    """A job's file name: it changes with anything that its numbers depend on, beyond what the last bits of a device do."""
    ratios = [checkpoint.config.get(name) for name in ("calibration", "isotonic", "critic_slope", "tables")]
    content = json.dumps([job.as_dict(), checkpoint.hashes, ratios, evaluator.fingerprint])
    content += "" if execution.dtype == torch.float32 else str(execution.dtype)
    return hashlib.sha256(content.encode()).hexdigest()[:20]
