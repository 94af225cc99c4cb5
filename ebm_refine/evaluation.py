"""One resumable list of jobs behind every table and sweep: (method, ratio, settings, seed) -> distances of base and refined.

Each finished job is a JSON file in `OUT/jobs`; a run that is started again does only what is missing, then writes
`results.json` and `table.md`. Base (the generator alone) is measured in every job on the same seeds, so differences are paired.
"""

import hashlib
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ebm_refine.checkpoints import Checkpoint
from ebm_refine.density_ratio import available_ratios
from ebm_refine.errors import InputError
from ebm_refine.files import replacing, writable_folder
from ebm_refine.metrics.features import FeatureExtractor, features_for
from ebm_refine.metrics.manifold import SHARES
from ebm_refine.metrics.report import compare
from ebm_refine.pipeline import Frame, RefineResult, stream
from ebm_refine.settings import Settings, resolve

SWEEPABLE = ("eps", "n_steps", "beta", "temperature")


def plan(
    checkpoint: Checkpoint,
    methods: Sequence[str],
    num_images: int,
    seeds: Sequence[int],
    ratios: Sequence[str] | None = None,
    sweep: dict[str, Sequence[float]] | None = None,
    given: dict[str, Any] | None = None,
) -> list[Settings]:
    """The checked settings of every job: methods x ratios (None: all that the model has) x sweep values x seeds.

    `given` are further arguments of `refine` that all jobs share. Raises InputError at the first setting out of range.
    """
    sweep = {name.replace("-", "_"): values for name, values in (sweep or {}).items()}
    for name in sweep:
        if name not in SWEEPABLE:
            raise InputError(f"sweep must be over one of {', '.join(SWEEPABLE)}; got {name!r}")
    if not methods or not seeds:
        raise InputError("evaluate needs at least one method and one seed")
    jobs = []
    for method, ratio in itertools.product(methods, ratios or available_ratios(checkpoint.config)):
        for values in itertools.product(*sweep.values()):
            swept = dict(zip(sweep, values, strict=True))
            for seed in seeds:
                arguments: dict[str, Any] = {**(given or {}), **swept, "num_images": num_images, "seed": seed}
                job = resolve(checkpoint.name, checkpoint.config, method=method, ratio=ratio, **arguments)
                if job not in jobs:  # a method that ignores a swept value would otherwise be run once for each
                    jobs.append(job)
    return jobs


def evaluate(
    checkpoint: Checkpoint,
    jobs: Sequence[Settings],
    out: str | Path,
    split: str = "test",
    device: str = "cpu",
    progress: Callable[[str], None] = print,
    fid: Callable[[Tensor], float] | None = None,
) -> dict[str, Any]:
    """Run the jobs that are not done yet and write `results.json` and `table.md` into `out`; returns the results.

    `split` is the reference, "test" or "holdout" (settings are chosen on holdout and reported once on test). Raises InputError
    where no extractor is embedded for the model's data, where there are too few images, or where `out` cannot be written.
    `fid` gives the Inception-v3 FID of uint8 images (`metrics.inception`), which is then taken beside the other distances.
    """
    extractor = features_for(checkpoint.config["data"]["dataset"])
    if split not in extractor.references:
        raise InputError(f"split must be one of {', '.join(extractor.references)}; got {split!r}")
    least = 10 * extractor.num_features
    if any(job.num_images < least for job in jobs):
        raise InputError(
            f"num_images must be at least {least} to evaluate: ten times the {extractor.num_features} features; "
            f"got {min(job.num_images for job in jobs)}"
        )
    folder = writable_folder(writable_folder(out) / "jobs")
    finished = []
    for position, job in enumerate(jobs):
        file = folder / f"{_key(job, checkpoint, extractor, split)}{'-fid' if fid else ''}.json"
        if not file.exists():
            label = f"[{position + 1}/{len(jobs)}] {job.method} {job.ratio} seed {job.seed}"
            record, result = _run(checkpoint, job, extractor, split, device, label, progress)
            if fid:
                record["fid"] = {"before": fid(result.before), "after": fid(result.after)}
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(record, indent=1))
        finished.append(json.loads(file.read_text()))
    results = {
        "model": checkpoint.name,
        "weights": checkpoint.hashes,
        **extractor.describe(),
        "reference": {"split": split, "images": extractor.references[split].images},
        "num_images": jobs[0].num_images,
        "seeds": sorted({job.seed for job in jobs}),
        "rows": summarise(finished),
        "manifold": finished[0].get("manifold"),
        "floors": extractor.floors,
    }
    for name, text in (("results.json", json.dumps(results, indent=1) + "\n"), ("table.md", table(results))):
        with replacing(Path(out) / name) as temporary:
            temporary.write_text(text)
    return results


def summarise(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for base and one for each setting: means over seeds, paired differences, and whether they pass the spread.

    "Beyond spread": every seed improves, and the mean gain exceeds three standard errors of the paired differences.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        setting = {name: value for name, value in record["settings"].items() if name != "seed"}
        groups.setdefault(json.dumps(setting, sort_keys=True), []).append(record)
    by_seed = {record["settings"]["seed"]: record for record in records}
    rows = [{"method": "base", "seeds": len(by_seed), **_distances(list(by_seed.values()), "before")}]
    for group in groups.values():
        settings = {name: value for name, value in group[0]["settings"].items() if name not in ("seed", "model", "num_images")}
        rows.append(
            {
                **settings,
                "seeds": len(group),
                **_distances(group, "after"),
                "frechet_gain": _gain([r["frechet_distance"]["before"] - r["frechet_distance"]["after"] for r in group]),
                "kernel_gain": _gain([-r["kernel_distance"]["difference"]["value"] for r in group]),
                **{
                    name: statistics.fmean(r["diagnostics"][name] for r in group)
                    for name in (
                        "mean_ratio_before",
                        "mean_ratio_after",
                        "forwards_per_image",
                        "gradients_per_image",
                        "accepted_share",
                    )
                },
                "nonfinite_proposals": sum(r["diagnostics"]["nonfinite_proposals"] for r in group),
                "budget_exhausted": sum(r["diagnostics"].get("budget_exhausted", 0) for r in group),
                "exceedances": sum(r["diagnostics"].get("exceedances", 0) for r in group),
                "seconds": statistics.fmean(r["seconds"] for r in group),
            }
        )
    return rows


def table(results: dict[str, Any]) -> str:
    """The results as a Markdown table, with everything that must stand beside the numbers."""
    floor = results["floors"].get(str(results["num_images"]))
    lines = [
        f"`{results['model']}`: {results['title']} (`{results['extractor']}`, sha256 {results['sha256'][:12]}), "
        f"N = {results['num_images']}, seeds {', '.join(map(str, results['seeds']))}, reference: "
        f"{results['reference']['images']} {results['reference']['split']} images. Mean ± sd over seeds; of distances lower is "
        f"better, of precision and recall{_neighbourhood(results)} higher.",
        "",
        "| method | ratio | setting | Fréchet distance | gain ± s.e. | kernel distance × 1000 | precision | recall | "
        "beyond spread | mean r | fwd + grad an image | fallbacks |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        distances = f"{_pm(row['frechet_distance'])} | {{gain}} | {_pm(row['kernel_distance'], 1000)} | "
        distances += " | ".join(_pm(row[name]) if name in row else "–" for name in ("precision", "recall"))
        if row["method"] == "base":
            lines.append(f"| base | – | – | {distances.format(gain='–')} | – | – | 0 | – |")
            continue
        setting = ", ".join(
            f"{name} {value:g}" for name in ("eps", "n_steps", "temperature") if (value := row.get(name)) is not None
        )
        setting += "".join(f", {name} {value}" for name, value in row["options"].items() if value is not None)
        gain = f"{row['frechet_gain']['mean']:+.2f} ± {row['frechet_gain']['error']:.2f}"
        beyond = "yes" if row["frechet_gain"]["beyond_spread"] and row["kernel_gain"]["beyond_spread"] else "no"
        lines.append(
            f"| {row['method']} | {row['ratio']} | {setting} | {distances.format(gain=gain)} | {beyond} | "
            f"{row['mean_ratio_after']:+.2f} | {row['forwards_per_image']:.0f} + {row['gradients_per_image']:.0f} | "
            f"{row['budget_exhausted']} |"
        )
    if floor:
        lines.append(
            f"| real images | – | floor at this N | {floor['frechet_mean']:.2f} | – | {1000 * floor['kernel_mean']:.2f} "
            "| – | – | – | – | – | – |"
        )
    if all("fid" in row for row in results["rows"]):
        fids = "; ".join(f"{row['method']} {row.get('ratio', '')} {_pm(row['fid'])}" for row in results["rows"])
        lines += ["", f"FID (Inception-v3, no antialiasing), against the train split: {fids}."]
    lines += ["", "Mean r is what the samplers raise by construction: it is not evidence of better images.", ""]
    return "\n".join(lines)


def _run(
    checkpoint: Checkpoint,
    job: Settings,
    extractor: FeatureExtractor,
    split: str,
    device: str,
    label: str,
    progress: Callable[[str], None],
) -> tuple[dict[str, Any], RefineResult]:
    started = told = time.monotonic()
    result: Any = None
    for item in _stream(checkpoint, job, device):
        if isinstance(item, RefineResult):
            result = item
        elif time.monotonic() - told > 20:
            told = time.monotonic()
            progress(f"{label}: step {item.step}/{item.n_steps}, {told - started:.0f} s")
    seconds = time.monotonic() - started
    report = compare(result.before, result.after, extractor, split)
    gain = report["frechet_distance"]["before"] - report["frechet_distance"]["after"]
    progress(f"{label}: Fréchet {report['frechet_distance']['after']:.3f}, gain {gain:+.3f}, {seconds:.0f} s")
    record = {
        "settings": job.as_dict(),
        "diagnostics": result.diagnostics,
        "kernel_distance": report["kernel_distance"],
        "frechet_distance": report["frechet_distance"],
        **{name: report[name] for name in ("manifold", *SHARES) if name in report},
        "seconds": seconds,
    }
    return record, result


def _stream(checkpoint: Checkpoint, job: Settings, device: str) -> Iterator[Frame | RefineResult]:
    arguments = job.as_dict()
    arguments.pop("model")
    return stream(checkpoint, **arguments, device=device)


def _key(job: Settings, checkpoint: Checkpoint, extractor: FeatureExtractor, split: str) -> str:
    """A job's file name: it changes with anything that its numbers depend on."""
    content = json.dumps([job.as_dict(), checkpoint.hashes, checkpoint.config.get("calibration"), extractor.sha256, split])
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def _distances(records: Sequence[dict[str, Any]], which: str) -> dict[str, Any]:
    distances = {
        "frechet_distance": _spread([record["frechet_distance"][which] for record in records]),
        "kernel_distance": _spread([record["kernel_distance"][which]["value"] for record in records]),
    }
    for name in (*SHARES, "fid"):
        if all(name in record for record in records):
            distances[name] = _spread([record[name][which] for record in records])
    return distances


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else math.nan}


def _gain(differences: Sequence[float]) -> dict[str, Any]:
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    return {"mean": mean, "error": error, "beyond_spread": min(differences) > 0 and mean > 3 * error}


def _neighbourhood(results: dict[str, Any]) -> str:
    manifold = results.get("manifold")
    return f" ({manifold['num_images']} features a side, k = {manifold['neighbours']})" if manifold else ""


def _pm(spread: dict[str, float], factor: float = 1.0) -> str:
    return f"{factor * spread['mean']:.2f} ± {factor * spread['sd']:.2f}"
