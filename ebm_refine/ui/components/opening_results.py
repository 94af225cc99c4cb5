"""Results that ship with the page: what its tabs show before anybody has pressed anything.

`benchmarks/openings.py` presses the buttons of the embedded models' page and keeps what they showed. A result is shown only
where the page's controls still stand as they stood then.
"""

import json
import math
import re
from functools import cache
from typing import Any

import gradio as gr
import pandas as pd

from ebm_refine.ui.components.status_line import idle
from ebm_refine.ui.runtime.pictures import ASSETS, SHELF, asset

FILE = "openings.json"
# Buttons, and tabs that are filled when they are opened, by their elements' names.
BUTTONS = (
    "compare-run", "sweep-run", "toy-run", "lesson-run", "energy-run", "complete-run", "denoise-run", "detect-run", "rank-run",
    "classify-run", "read-run", "gans-run", "gans-reconstruct", "gans-energies-tab", "gans-training-tab", "dbn-run",
)  # fmt: skip
SAID = "A result that was computed before, with the settings shown here; nothing was picked by hand."
# A value of more characters than that becomes a file, which a browser fetches when it shows it.
MOST_CHARACTERS = 8_000
_SHELVED = re.compile(r"shown/[0-9a-f]{32}\.[a-z]+")
_ASSET = re.compile(r"asset:(open-[a-z0-9-]+\.[a-z]+)")


def show(demo: gr.Blocks) -> None:
    """Fill the components of the page with the results that belong to their settings."""
    named = _named(demo)
    for button, entry in _entries().items():
        event = _event(demo, button)
        if event is None or _controls(event) != entry["controls"]:
            continue
        for name, update in entry["shows"].items():
            if name in named:
                _fill(named[name], update)


def recorded(demo: gr.Blocks, button: str) -> dict[str, Any] | None:
    """Press a button of a built page; gives its entry, and writes its pictures and films beside it. None: no such button."""
    event = _event(demo, button)
    if event is None:
        return None
    shows: dict[str, dict[str, Any]] = {}
    answer = event.fn(*(block.value for block in event.inputs))
    for updates in [answer] if isinstance(answer, dict) else answer:
        for block, update in updates.items():
            shown_of = shows.setdefault(block.elem_id, {})
            given = update if isinstance(update, dict) and update.get("__type__") == "update" else {"value": update}
            shown_of |= {name: value for name, value in given.items() if name in ("value", "visible")}
    shown = {name: _plain(name, update) for name, update in shows.items()}
    return {"controls": _controls(event), "shows": shown}


def _plain(name: str, update: dict[str, Any]) -> dict[str, Any]:
    """An update as JSON, with files in place of what lies on the shelf or is long."""
    value = update.get("value")
    if name.endswith("-status") and isinstance(value, str):
        return {"value": idle(SAID)}
    if isinstance(value, pd.DataFrame):
        rows = [[_short(cell) for cell in row] for row in value.to_numpy().tolist()]
        return {**update, "value": {"columns": list(value.columns), "rows": rows}}
    if not isinstance(value, str):
        return update
    for number, address in enumerate(dict.fromkeys(_SHELVED.findall(value))):
        data = SHELF.get(address.removeprefix("shown/"))
        assert data is not None
        value = value.replace(address, f"asset:{_written(name, str(number), data, address.rpartition('.')[2])}")
    if len(value) > MOST_CHARACTERS:
        value = json.dumps({"src": f"asset:{_written(name, 'data', value.encode(), 'json')}"})
    return {**update, "value": value}


def _short(cell: Any) -> Any:
    """Plots need no sixteen digits, and JSON knows no infinity."""
    if not isinstance(cell, float):
        return cell
    return float(f"{cell:.5g}") if math.isfinite(cell) else None


def _written(name: str, which: str, data: bytes, kind: str) -> str:
    file = f"open-{name}-{which}.{kind}"
    (ASSETS / file).write_bytes(data)
    return file


def _fill(block: Any, update: dict[str, Any]) -> None:
    if "visible" in update:
        block.visible = update["visible"]
    if "value" not in update:
        return
    value = update["value"]
    if isinstance(value, dict):
        block.value = block.postprocess(pd.DataFrame(value["rows"], columns=value["columns"])).model_dump()
    else:
        block.value = value if value is None else _ASSET.sub(lambda found: asset(found[1]), value)


def _event(demo: gr.Blocks, button: str) -> Any:
    """What a click on the button, or the choice of a tab, runs."""
    for event in demo.fns.values():
        for block, name in event.targets:
            known = demo.blocks.get(block) if block is not None else None
            if name in ("click", "select") and known is not None and known.elem_id == button and event.fn is not None:
                return event
    return None


def _controls(event: Any) -> list[Any]:
    """How the controls of an event stand; what is no plain value, such as a drawn digit, is left out."""
    return [block.value for block in event.inputs if isinstance(block.value, str | int | float | bool | None)]


def _named(demo: gr.Blocks) -> dict[str, Any]:
    return {block.elem_id: block for block in demo.blocks.values() if block.elem_id}


@cache
def _entries() -> dict[str, Any]:
    file = ASSETS / FILE
    return json.loads(file.read_text()) if file.is_file() else {}
