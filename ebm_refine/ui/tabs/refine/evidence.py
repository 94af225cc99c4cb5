"""What was measured once, on thousands of images, with these settings: the recorded figure beside a live verdict."""

import json
import math
from functools import cache
from typing import Any, NamedTuple

from ebm_refine.catalogue import EMBEDDED
from ebm_refine.evaluation.tables import RESULTS, committed
from ebm_refine.metrics.panel_kinds import BODY_KINDS, kinds_seen
from ebm_refine.models.config import read_config
from ebm_refine.settings import Settings
from ebm_refine.ui.components.html_table import Cell, bar, percent, small, table
from ebm_refine.ui.tabs.refine.job import model_named

# Values of a row that must agree with those of a run.
_SETTINGS = ("method", "ratio", "beta", "eps", "n_steps", "temperature")
_DIGITS = 2
_PANEL_WORDS = {
    "confirmed": "Confirmed on {images:,} images by the whole panel of such encoders:",
    "open": "Left open on {images:,} images by the whole panel of such encoders:",
    "contradicted": "Contradicted on {images:,} images by the whole panel of such encoders:",
}


class Evidence(NamedTuple):
    """A Fréchet distance before and after, between real images at that number of images, and what it was taken with.

    `shared_kind`: the ratio sees with a network of the same kind as the extractor, so that this figure alone proves little.
    """

    before: float
    after: float
    error: float | None
    real: float | None
    num_images: int
    seeds: int
    title: str
    split: str
    shared_kind: bool


def recorded(settings: Settings) -> Evidence | None:
    """The largest recorded measurement of exactly these settings, whatever the number of images and the seed; or None."""
    found = [one for results in _tables() for one in _matching(results, settings)]
    return max(found, key=lambda one: (one.split == "test", one.num_images), default=None)


def as_html(evidence: Evidence | None, title: str = "Measured with these settings") -> str:
    """The figure as a number and three bars, with what it is; nothing where nothing was recorded."""
    if evidence is None:
        return ""
    change = evidence.after / evidence.before - 1
    error = 0.0 if evidence.error is None else 2 * evidence.error / evidence.before
    spread = "" if evidence.error is None else f" ± {percent(error)}"
    if abs(change) > error:
        words = f"{percent(abs(change))}{spread} {'closer to' if change < 0 else 'further from'} real images"
    else:
        words = f"no clear change of this distance ({percent(change, sign='+')}{spread})"
    bars = [("generator alone", evidence.before, "base"), ("refined", evidence.after, "refined")]
    if evidence.real is not None:
        bars.append(("real images", evidence.real, "real"))
    longest = max(value for _, value, _ in bars)
    rows: list[list[str | Cell]] = [
        [title, bar(max(0.01, value / longest)), Cell(f"{value:.{_DIGITS}f}", "value")]
        for title, value, _ in bars
    ]  # fmt: skip
    made = table([], rows, [kind for _, _, kind in bars], css="bars")
    words_below = (
        f"Fréchet distance (lower is better) of {evidence.num_images:,} images, {evidence.seeds} "
        f"{'seeds' if evidence.seeds > 1 else 'seed'}, to the {evidence.split} split, in {evidence.title}; not the same number "
        "as Inception FID."
    )
    if evidence.shared_kind:
        words_below += " The ratio itself uses a network of this kind; the encoders that judge do not."
    return (
        f"<section class='evidence' aria-label='Measurement'><p class='figure'>{title}: "
        f"<strong>{words}</strong></p>{made}{small(words_below)}</section>"
    )


def panel_html(settings: Settings) -> str:
    """What encoders of several kinds made of exactly these settings; nothing where they were not asked."""
    mine = settings.as_dict()
    for results in _panels():
        for row in results["rows"] if results["model"] == settings.model else []:
            theirs = {"method": row["method"], "ratio": row["ratio"], **row["settings"]}
            if all(theirs.get(name) == mine.get(name) for name in (*_SETTINGS, "options")):
                word, reason = row["verdict"]["word"], row["verdict"]["reason"].replace("%", "\u00a0%")
                text = f"{_PANEL_WORDS.get(word, word).format(images=row['images'])} {reason}."
                return small(text)
    return ""


def shares_kind(settings: Settings) -> bool:
    """Whether the ratio of a run sees with a network of the kind in whose features Fréchet distances are taken."""
    config = model_named(settings.model).config
    return _kind_of_extractor(config["data"]["dataset"]) in kinds_seen(config, settings.ratio)


@cache
def _kind_of_extractor(dataset: str) -> str | None:
    folder = EMBEDDED / f"{dataset}-features"
    return BODY_KINDS.get(read_config(folder)["parts"]["features"]["architecture"]) if folder.is_dir() else None


@cache
def _panels() -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*-panel.json"))]


@cache
def _tables() -> list[dict[str, Any]]:
    return list(committed().values())


def _matching(results: dict[str, Any], settings: Settings) -> list[Evidence]:
    if results.get("model") != settings.model or "frechet_distance" not in results["rows"][0]:
        return []
    mine = settings.as_dict()
    # The floor falls with the number of images: the nearest size below overstates it, and is no flattery.
    sizes = [int(size) for size in results["floors"] if int(size) <= results["num_images"]]
    floor = results["floors"][str(max(sizes))] if sizes and max(sizes) >= results["num_images"] / 2 else {}
    return [
        Evidence(
            before=results["rows"][0]["frechet_distance"]["mean"],
            after=row["frechet_distance"]["mean"],
            error=row["frechet_gain"]["error"] if math.isfinite(row["frechet_gain"]["error"]) else None,  # of one seed none
            real=floor.get("frechet_mean"),
            num_images=results["num_images"],
            seeds=row["seeds"],
            title=results["title"],
            split=results["reference"]["split"],
            shared_kind=shares_kind(settings),
        )
        for row in results["rows"][1:]
        if all(row.get(name) == mine.get(name) for name in _SETTINGS if name in row)
        and row["method"] == settings.method
        and row.get("options", {}) == mine["options"]
        and "frechet_gain" in row
    ]
