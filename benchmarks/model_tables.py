"""Tables of the models that ship: how they were trained, and what those measured that were trained anew.

    python benchmarks/model_tables.py --before COMMIT --faces-before COMMIT

The older weights' figures are those of the commits' own results; faces changed later than digits and points.

JSON goes to benchmarks/results/models-before.json. Everything else comes from the models' configs and today's results.
"""

import argparse
import json
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from evidence_tables import kind_changes
from markdown import grid, listed, page, plus_minus

import ebm_refine
from ebm_refine.models import networks
from ebm_refine.utils.atomic_io import replacing

RESULTS = Path(__file__).parent / "results"
FILE = RESULTS / "models-before.json"
UNKNOWN = "not recorded"


def shown(what: str) -> str:
    """What `git show` prints of a commit or of a file in one."""
    return subprocess.run(["git", "show", *what.split()], check=True, capture_output=True, text=True).stdout


def faces_before(commit: str) -> dict[str, Any]:
    """What the panel said of the generator of faces alone at `commit`, with the hashes of its weights."""
    panel = json.loads(shown(f"{commit}:benchmarks/results/celeba-dcgan-panel.json"))
    # All rows share the base's distances, and all are needed: they say which kinds failed a test.
    rows = [{"rows": [{name: one[name] for name in ("kind", "why", "before")} for one in row["rows"]]} for row in panel["rows"]]
    return {"commit": shown(f"--no-patch --format=%H {commit}").strip(), **panel, "rows": rows}


def before(commit: str) -> dict[str, Any]:
    """What the models of digits and of points measured at `commit`, with the hashes of their weights."""
    digits, points = (json.loads(shown(f"{commit}:benchmarks/results/{name}.json")) for name in ("mnist", "toys-models"))
    return {
        "commit": shown(f"--no-patch --format=%H {commit}").strip(),
        "date": shown(f"--no-patch --format=%cs {commit}").strip(),
        "digits": {
            **{name: digits[name] for name in ("extractor", "sha256", "num_images", "seeds")},
            "models": {
                name: {"weights": model["weights"], "distance": model["summary"]["frechet_distance_after"]}
                for name, model in digits["models"].items()
            },
        },
        "points": {
            **{name: points[name] for name in ("num_points", "seeds")},
            "models": {
                row["model"]: {"weights": row["weights"], "modes": row["modes"], **quality(row)} for row in points["rows"]
            },
        },
    }


def quality(row: dict[str, Any]) -> dict[str, Any]:
    """Of a toy model's row of results: what its points are like after its own method."""
    return {"high_quality": row["after"]["high_quality"], "recovered": min(row["after"]["recovered"])}


def models() -> str:
    """Every trained model: its networks, how long it learned, from how many images, on what machine."""
    head = ["model", "networks, thousands of parameters", "length", "real images seen", "machine", "date"]
    rows, times = [], []
    for model in ebm_refine.list_models():
        training = model.config.get("training", {})
        # What is known in closed form was not trained.
        if not training.get("steps"):
            continue
        phases = [training, *([training["energy_alone"]] if "energy_alone" in training else [])]
        machine, date = ("; ".join(dict.fromkeys(phase.get(name, UNKNOWN) for phase in phases)) for name in ("device", "date"))
        rows.append(
            [f"`{model.name}`", networks_of(model.config), length(training), images_seen(training) or UNKNOWN, machine, date]
        )
        time = stated_time(model.config)
        times += [f"- `{model.name}`: {time}"] if time else []
    words = (
        "Networks by role, as they are stored. Real images seen: batches times their size in the main phase. What the "
        "discriminator saw when it went on alone, what a ratio learned from, and a critic's further batches are not counted."
    )
    stated = f"Time and processor, where the model's card states them; {UNKNOWN} of all others."
    return page(words, grid(head, rows), stated, "\n".join(times))


def networks_of(config: dict[str, Any]) -> str:
    """The number of parameters of every part."""
    counts = []
    for role, part in config["parts"].items():
        with torch.device("meta"):
            network = networks.build(part["architecture"], part["arguments"])
        counts.append(f"{role} {sum(weights.numel() for weights in network.parameters()) / 1000:,.1f}")
    return listed(counts)


def length(training: dict[str, Any]) -> str:
    """How many steps, and which of them ships where it is not the last."""
    run = training.get("steps_run") or training.get("epochs_run") or training["steps"]
    ships = f", {training['steps']:,} ship" if run != training["steps"] else ""
    more = training.get("energy_alone")
    return f"{run:,} {training['unit']}{ships}" + (f"; energy alone {length(more)}" if more else "")


def images_seen(training: dict[str, Any]) -> str | None:
    """The number of real images of the main phase, with that of the weights at which training began; None: not recorded."""
    run, unit = training.get("steps_run") or training.get("epochs_run") or training["steps"], training["unit"]
    if unit.startswith("batches of "):
        count = run * int(unit.removeprefix("batches of "))
    elif unit == "epochs":
        count = run * training["data"]["images"]
    else:
        return None
    origin, alone = training.get("begins_at"), training.get("energy_alone")
    began_as = origin["name"] if origin else training.get("generator began as")
    earlier = (origin and images_seen(origin)) or "those"
    return f"{count:,}" + (f" + {earlier} of `{began_as}`" if began_as else "") + (f"; {images_seen(alone)}" if alone else "")


def stated_time(config: dict[str, Any]) -> str | None:
    """What the card says of the time that training took."""
    training = config.get("training", {})
    if "minutes" in training:
        return f"{training['minutes']:g} minutes, {training['processor']}"
    notes = [training.get("note"), *config.get("notes", [])]
    return next((note for note in notes if note and " minutes" in note), None)


def models_before(results: Sequence[dict[str, Any]]) -> str:
    """Models whose weights are new, and new models beside the older ones of the same data. `results`: as in render_tables."""
    old, digits, points, new_panel, old_panel, faces = results
    rows = []
    for then, now in ((old["digits"], digits), (old["points"], points)):
        if other := [name for name in ("sha256", "num_images", "num_points", "seeds") if then.get(name) != now.get(name)]:
            raise ValueError(f"the older models were measured with another {other[0]}: {then.get(other[0])}")
    for name, model in old["digits"]["models"].items():
        if model["weights"] != digits["models"][name]["weights"]:
            now = digits["models"][name]["summary"]["frechet_distance_after"]
            cells = [plus_minus(distance, 2) for distance in (model["distance"], now)]
            rows.append([f"`{name}`", "Fréchet distance from test digits, after its own sampler", *cells])
    by_name = {row["model"]: row for row in points["rows"]}
    for name, model in old["points"]["models"].items():
        if model["weights"] != by_name[name]["weights"]:
            cells = [_quality({"modes": model["modes"], **side}) for side in (model, quality(by_name[name]))]
            rows.append([f"`{name}`", "high quality, after its own sampler", *cells])
    rows += [_beside("mnist-cgan", "mnist-gan"), _panel(new_panel, old_panel), _panel(faces, old["faces"])]
    words = (
        f"Before: commit {old['commit'][:7]} of {old['date']}. Digits: N = {digits['num_images']}, seeds "
        f"{listed(digits['seeds'])}, `{digits['extractor']}` (sha256 {digits['sha256'][:12]}); mean ± sd over seeds. Points: "
        f"N = {points['num_points']}, seeds {listed(points['seeds'])}; modes found with every seed."
    )
    return page(grid(["model", "measured", "before", "now"], rows), words)


def _quality(side: dict[str, Any]) -> str:
    return f"{side['high_quality']:.1%}" + (f", {side['recovered']} of {side['modes']} modes" if side["modes"] > 1 else "")


def _beside(new: str, old: str) -> list[str]:
    """The holdout distances of two generators alone, as their cards have them."""
    one, other = (ebm_refine.load(name).config["holdout_distance"] for name in (new, old))
    if (one["sha256"], one["num_images"]) != (other["sha256"], other["num_images"]):
        raise ValueError(f"{new} and {old} have holdout distances of different features or sizes")
    measured = f"holdout Fréchet distance of the generator alone, N = {one['num_images']}"
    return [f"`{new}` beside `{old}`", measured, f"{other['value']:.2f}", f"{one['value']:.2f}"]


def _panel(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    """The panel's change of a generator alone against that of an older model."""
    changes = [change for _, change, _, votes in kind_changes(new, old) if votes]
    shown = f"{statistics.median(changes):+.0%} (kinds {min(changes):+.0%} to {max(changes):+.0%})"
    measured = f"generator alone on {new['split']} images: change of the kernel distance, median of the panel's voting kinds"
    name = f"`{new['model']}`" if new["model"] == old["model"] else f"`{new['model']}` beside `{old['model']}`"
    return [name, measured, "–", shown]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--before", required=True, metavar="COMMIT", help="the last commit with the older digits and points")
    parser.add_argument("--faces-before", required=True, metavar="COMMIT", help="the last commit with the older faces")
    chosen = parser.parse_args()
    found = {**before(chosen.before), "faces": faces_before(chosen.faces_before)}
    with replacing(FILE) as temporary:
        temporary.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
