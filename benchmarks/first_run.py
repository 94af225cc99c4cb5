"""What a visitor sees who opens the page and presses Run: the verdict of the page's first model and settings, seed by seed.

`python benchmarks/first_run.py --seeds 20 --out benchmarks/results/first-run.json`
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from ebm_refine.ui.tabs.refine.job import Finished, first_model, opening, run
from ebm_refine.ui.tabs.refine.metrics_panel import verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="seeds 0 to this one, left out")
    parser.add_argument("--num-images", type=int, help="another number of images than the page draws")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    rows = []
    for seed in range(chosen.seeds):
        began = time.monotonic()
        *_, end = run(first_model(), {"seed": seed, "num_images": chosen.num_images or opening(first_model()).num_images})
        assert isinstance(end, Finished)
        kind, _ = verdict(end.record.metrics)
        said = end.record.metrics["verdict"]
        changes = {one["kind"]: round(one["change"] / one["before"], 3) for one in said["kinds"]}
        seconds = round(time.monotonic() - began, 2)
        rows.append({"seed": seed, "verdict": kind, "z": round(said["z"], 2), "relative_change": changes, "seconds": seconds})
        print(rows[-1], flush=True)
    counts = Counter(row["verdict"] for row in rows)
    settings = {name: value for name, value in end.record.settings.as_dict().items() if name != "seed"}
    command = f"python benchmarks/first_run.py --seeds {chosen.seeds} --out {chosen.out}"
    found = {"command": command, "settings": settings, "verdicts": dict(sorted(counts.items())), "rows": rows}
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    print(found["verdicts"])


if __name__ == "__main__":
    main()
