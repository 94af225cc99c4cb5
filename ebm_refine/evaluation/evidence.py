"""The panel's part in an evaluation: features of every job are stored beside its record, and judged over all seeds together.

Image i depends on (seed, i) alone, so further seeds are just more images.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.evaluation.tables import FALLBACKS_ARE
from ebm_refine.metrics.panel import GAIN_ERRORS, LEAST_IMAGES, MOST_IMAGES, PanelReport, judged, projected
from ebm_refine.metrics.panel_kinds import DATASETS, kinds_seen
from ebm_refine.metrics.panel_store import Panel, embedded_panel
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.utils.atomic_io import replacing

SUFFIX = ".panel.safetensors"


class Evidence:
    """The panel of a model's data set, against its stored features of `split`; or another `panel` (`panel_store.panel_of`).

    Raises InputError where there is no panel.
    """

    def __init__(self, checkpoint: Checkpoint, split: str, panel: Panel | None = None):
        if panel is not None:
            self.checkpoint, self.split, self.panel = checkpoint, "given", panel
            return
        dataset = checkpoint.config["data"]["dataset"]
        if dataset not in DATASETS:
            raise InputError(f"there is a panel for {', '.join(DATASETS)}; {checkpoint.name!r} is of {dataset!r}")
        self.checkpoint, self.split, self.panel = checkpoint, split, embedded_panel(dataset)

    def file(self, record: Path) -> Path:
        """Where the features of the job lie whose record is this file."""
        return record.with_name(f"{record.stem}-{self.panel.fingerprint[:8]}{SUFFIX}")

    def keep(self, before: Tensor, after: Tensor, record: Path) -> None:
        """Store what the panel sees of a job's uint8 images (N, C, H, W), the first 10,000 at most."""
        sides = {"before": projected(self.panel, before[:MOST_IMAGES]), "after": projected(self.panel, after[:MOST_IMAGES])}
        with replacing(self.file(record)) as temporary:
            save_file({f"{side}.{kind}": rows for side, kinds in sides.items() for kind, rows in kinds.items()}, temporary)

    def rows(self, finished: Sequence[dict[str, Any]], records: Sequence[Path]) -> dict[str, Any]:
        """One report a setting, over all seeds, as plain values. Raises InputError where they are fewer than 256 images."""
        groups: dict[str, list[Path]] = {}
        for job, record in zip(finished, records, strict=True):
            setting = {name: value for name, value in job["settings"].items() if name not in ("seed", "model", "num_images")}
            groups.setdefault(json.dumps(setting, sort_keys=True), []).append(record)
        rows = []
        for text, group in groups.items():
            setting = json.loads(text)
            rows.append({**setting, **self._judged(group, setting.get("ratio")).as_dict()})
        return {"panel": self.panel.name, "fingerprint": self.panel.fingerprint, "rows": rows}

    def _judged(self, records: Sequence[Path], ratio: str | None) -> PanelReport:
        parts = [load_file(self.file(record)) for record in records]
        sides = {
            side: {kind: torch.cat([part[f"{side}.{kind}"] for part in parts])[:MOST_IMAGES] for kind in _kinds(self.panel)}
            for side in ("before", "after")
        }
        count = len(next(iter(sides["before"].values())))
        if count < LEAST_IMAGES:
            raise InputError(f"a panel needs at least {LEAST_IMAGES} images over all seeds; got {count}")
        return judged(
            self.panel, sides["before"], sides["after"], split=self.split, seen=kinds_seen(self.checkpoint.config, ratio)
        )


def _kinds(panel: Panel) -> list[str]:
    return [member.kind.name for member in panel.members]


def panel_table(results: dict[str, Any]) -> str:
    """Reports of one panel as Markdown: a row a method, a column a kind, the verdict last.

    `results`: what `Evidence.rows` gives, or a file of `benchmarks/panel.py`.
    """
    first = results["rows"][0]
    kinds = [row["kind"] for row in first["rows"]]
    base = ["base", "–", "–", *(_distance(row["before"]) for row in first["rows"]), "–", "–"]
    lines = [["method", "setting", "evaluations", *kinds, "median change", "verdict"], ["---"] * (len(kinds) + 5), base]
    for report in results["rows"]:
        gain = report["verdict"]["median_gain"]
        said = "–" if gain is None else f"{-gain:+.0%}"
        lines.append(
            [report["method"], setting_of(report), _evaluations(report), *map(_change, report["rows"]), said,
             f"**{report['verdict']['word']}**"]
        )  # fmt: skip
    made = _markdown(lines)
    return "\n\n".join([made, _caption(results, first), *_frechet(results["rows"], kinds), *_faces(results["rows"])]) + "\n"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _frechet(reports: Sequence[dict[str, Any]], kinds: Sequence[str]) -> list[str]:
    """A second table: Fréchet distances in the same features with their errors, where there were images enough."""
    if any("frechet_before" not in row for row in reports[0]["rows"]):
        return []
    lines = [["method", "setting", *kinds], ["---"] * (len(kinds) + 2)]
    lines.append(["base", "–", *(_frechet_cell(row["frechet_before"]) for row in reports[0]["rows"])])
    for report in reports:
        cells = (_frechet_cell(row["frechet_after"]) for row in report["rows"])
        lines.append([report["method"], setting_of(report), *cells])
    return [
        _markdown(lines),
        "Fréchet distances in the same features ± s.e., the real images' noise included; biased upwards at this N, so no "
        "part of the verdict.",
    ]


def _frechet_cell(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.2f} ± {estimate['error']:.2f}"


def _faces(reports: Sequence[dict[str, Any]]) -> list[str]:
    """In how many images a face is found, where somebody looked: base, each method, real images."""
    counted = [report for report in reports if report.get("faces") and "note" not in report["faces"]]
    if not counted:
        return []
    first = counted[0]["faces"]
    sides = [("base", first["before"]), *((report["method"], report["faces"]["after"]) for report in counted)]
    sides += [("real images", first["real"])] if "real" in first else []
    return [f"Share of images in which a face is found: {', '.join(f'{name} {share:.1%}' for name, share in sides)}."]


def _distance(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.4f} ± {estimate['error']:.4f}"


def _change(row: dict[str, Any]) -> str:
    change = f"{row['relative']:+.0%} ({row['z']:+.1f})"
    return change if row["votes"] else f"[{change}]"


def setting_of(report: dict[str, Any]) -> str:
    """A report's numbers in words: its main settings, and of its options those that count something."""
    given = report.get("settings", report)
    numbers = [(name, given[name]) for name in ("eps", "n_steps", "temperature") if given.get(name) is not None]
    numbers += [(name, value) for name, value in (given.get("options") or {}).items() if isinstance(value, int)]
    return ", ".join(f"{name} {value:g}" for name, value in numbers) or "–"


def gains(report: dict[str, Any]) -> str:
    """How many of the voting kinds gain beyond three standard errors, as "3 of 4"."""
    voting = [row for row in report["rows"] if row["votes"]]
    return f"{sum(row['z'] < -GAIN_ERRORS for row in voting)} of {len(voting)}"


def _evaluations(report: dict[str, Any]) -> str:
    return f"{report['evaluations']:.3g}" if "evaluations" in report else "–"


def _caption(results: dict[str, Any], first: dict[str, Any]) -> str:
    reasons = {row["kind"]: row["why"] for report in results["rows"] for row in report["rows"] if not row["votes"]}
    silent = f" In brackets, no vote: {'; '.join(f'{kind}: {why}' for kind, why in reasons.items())}." if reasons else ""
    where = first["reference"]
    fallen = [f"{row['method']} {row['fallbacks']}" for row in results["rows"] if row.get("fallbacks")]
    silent += f" Fallbacks among {first['images']} images: {', '.join(fallen)}; {FALLBACKS_ARE}." if fallen else ""
    return (
        f"Panel `{results['panel']}` ({results['fingerprint'][:12]}), N = {first['images']} images, {where['images']} "
        f"{where['split']} images. Base: unbiased kernel distance ± s.e. Methods: its change, and in brackets the same in "
        f"standard errors, the real images' noise included; less is better.{silent}"
    )
