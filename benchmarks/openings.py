"""The results that the tabs open with: every button of the page pressed once, with its controls as they stand at first.

`python benchmarks/openings.py` writes `openings.json` and its pictures, films and planes into `ebm_refine/ui/assets`;
`python benchmarks/openings.py sweep-run` only that button's.
"""

import json
import sys
import time

from ebm_refine.ui import build
from ebm_refine.ui.components.opening_results import BUTTONS, FILE, recorded
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.pictures import ASSETS


def main() -> None:
    limits.MAX_SECONDS = 3600  # a busy machine may take its time
    wanted = sys.argv[1:] or list(BUTTONS)
    path = ASSETS / FILE
    found = json.loads(path.read_text()) if path.is_file() else {}
    demo = build()
    for button in wanted:
        began = time.monotonic()
        entry = recorded(demo, button)
        if entry is None:
            raise SystemExit(f"the page has no button {button!r}")
        found[button] = entry
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        print(f"{button}: {time.monotonic() - began:.0f} s", flush=True)
    sizes = {file.name: file.stat().st_size for file in sorted(ASSETS.glob("open*"))}
    print(sizes, sum(sizes.values()))


if __name__ == "__main__":
    main()
