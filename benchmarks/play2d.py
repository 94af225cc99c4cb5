"""What the page's particles move in: the closed-form laws of the plane, and trained energies on a grid.

`python benchmarks/play2d.py` writes `ebm_refine/ui/assets/play2d.json` from the data sets and the embedded models.
"""

import json
from typing import Any

from ebm_refine.catalogue import load
from ebm_refine.toy2d.datasets import BOX, DATASETS, law
from ebm_refine.toy2d.landscape import landscape
from ebm_refine.training.pipelines.closed_form import BROAD
from ebm_refine.ui.components.play2d import FILE
from ebm_refine.ui.runtime.pictures import ASSETS

GRID, DIGITS = 80, 2
# A curve needs fewer components than its density to look the same at the width of a particle.
CURVE_COMPONENTS = 128


def described(dataset: str) -> dict[str, Any]:
    """One law for the browser: centres x, y, x, y …, their common width and each one's mode; components are of equal weight."""
    mixture = law(dataset)
    every = max(1, len(mixture.centres) // CURVE_COMPONENTS)
    centres = [round(value, 5) for value in mixture.centres[::every].flatten().tolist()]
    return {"centres": centres, "width": round(mixture.width, 6), "modes": mixture.modes[::every].tolist()}


def gridded(dataset: str) -> dict[str, Any]:
    """The energy of a trained model of points, its lowest value 0, row by row from the lowest."""
    energy = landscape(load(f"toy-{dataset}-ebm"), "data", "auto", resolution=GRID).energy
    values = (energy - energy.min()).flatten().tolist()
    return {"law": dataset, "size": GRID, "values": [round(value, DIGITS) for value in values]}


def main() -> None:
    made = {
        "box": BOX,
        "broad": BROAD,
        "laws": {name: described(name) for name in DATASETS},
        "energies": {f"{name}-ebm": gridded(name) for name in DATASETS},
    }
    file = ASSETS / FILE
    file.write_text(json.dumps(made, separators=(",", ":")) + "\n")
    print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
