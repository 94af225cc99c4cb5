"""Write an evaluation's numbers into a model's config and card: python benchmarks/record.py RESULTS.json --command "…".

The weights are not touched. A file of `benchmarks/panel.py` gives the panel's verdicts, and needs no command.
`--default langevin:eps=0.1,n_steps=10` also sets the defaults of a method, chosen on holdout.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from ebm_refine.catalogue import EMBEDDED
from ebm_refine.evaluation.evidence import setting_of
from ebm_refine.models.checkpoint import load_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.utils.atomic_io import replacing


def metrics_of(results: dict[str, Any], command: str) -> list[dict[str, Any]]:
    """One entry for each distance of each row, as the card lists them."""
    floor = results["floors"].get(str(results["num_images"]), {})
    entries = []
    for row in results["rows"]:
        setting = ", ".join(f"{name} {row[name]:g}" for name in ("eps", "n_steps") if row.get(name) is not None)
        label = " ".join(part for part in (row["method"], row.get("ratio"), setting) if part)
        for key, name in (("frechet_distance", "Fréchet distance"), ("kernel_distance", "kernel distance")):
            entries.append(
                {
                    "name": f"{name}, {results['title']}, {label}",
                    "value": row[key]["mean"],
                    "num_images": results["num_images"],
                    "seeds": results["seeds"],
                    "extractor": results["extractor"],
                    "extractor_sha256": results["sha256"],
                    "reference_split": results["reference"]["split"],
                    "floor": floor.get(key.replace("distance", "mean")),
                    "command": command,
                }
            )
    return entries


def evidence_of(results: dict[str, Any]) -> dict[str, Any]:
    """The verdicts of a file of `benchmarks/panel.py`, as the card lists them."""
    names = ("panel", "fingerprint", "num_images", "real_images", "split")
    rows = [
        {
            "method": row["method"],
            "setting": setting_of(row),
            "word": row["verdict"]["word"],
            "reason": row["verdict"]["reason"],
        }
        for row in results["rows"]
    ]
    return {**{name: results[name] for name in names}, "rows": rows}


def write_metrics(
    name: str, hashes: dict[str, str], metrics: list[dict[str, Any]], defaults: dict[str, dict[str, Any]] | None = None
) -> None:
    """Put `metrics`, and `defaults` by method, into config and card of an embedded model whose weights hash to `hashes`."""
    write_entries(name, hashes, {"metrics": metrics}, defaults)


def write_entries(
    name: str, hashes: dict[str, str], entries: dict[str, Any], defaults: dict[str, dict[str, Any]] | None = None
) -> None:
    """Put `entries`, and `defaults` by method, into config and card of an embedded model whose weights hash to `hashes`."""
    folder = EMBEDDED / name
    checkpoint = load_checkpoint(folder)
    if checkpoint.hashes != hashes:
        raise SystemExit(f"{folder} holds other weights than were measured")
    config = checkpoint.config
    config.update(entries)
    config["defaults"].update(defaults or {})
    card = model_card({**config, "name": name})
    for file, content in (("config.json", json.dumps(config, indent=1) + "\n"), ("README.md", card)):
        with replacing(folder / file) as temporary:
            temporary.write_text(content)
    load_checkpoint(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--command", default="", help="the command that printed these results")
    parser.add_argument("--default", action="append", default=[], metavar="METHOD:NAME=VALUE,…")
    chosen = parser.parse_args()
    results = json.loads(chosen.results.read_text())
    if "fingerprint" in results:
        write_entries(results["model"], results["weights"], {"evidence": evidence_of(results)})
        return
    defaults = {}
    for text in chosen.default:
        method, _, values = text.partition(":")
        pairs = (item.split("=") for item in values.split(","))
        defaults[method] = {name: json.loads(value) for name, value in pairs}
    write_metrics(results["model"], results["weights"], metrics_of(results, chosen.command), defaults)


if __name__ == "__main__":
    main()
