"""Numbers and choices of a method, generated from its parameter rows: one component, however many rows there are."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import gradio as gr

from ebm_refine.errors import InputError
from ebm_refine.parameters import Parameter, shorten
from ebm_refine.ui.runtime.pictures import script

AUTOMATIC = "automatic"


def form(rows: Iterable[Parameter], values: Mapping[str, Any], **options: Any) -> gr.HTML:
    """A component whose value `given` reads; `shown` is what it shows next. `input` tells of every keystroke."""
    return gr.HTML(
        shown(rows, values), html_template='<div class="parameters"></div>', apply_default_css=False,
        js_on_load="page.form(element, props, watch, trigger);", head=script("page.js") + script("form.js"), **options,
    )  # fmt: skip


def shown(rows: Iterable[Parameter], values: Mapping[str, Any]) -> str:
    """The value of a form that shows `rows` with their `values`."""
    return json.dumps({"rows": [_row(row, values.get(row.name)) for row in rows]})


def given(value: Any) -> dict[str, str]:
    """What stands in a form, by name; what is empty is left out. Raises InputError for what is no form's value."""
    try:
        rows = json.loads(value)["rows"] if value else []
        texts = {str(row["name"]): str(row["value"]).strip() for row in rows}
    except (ValueError, TypeError, KeyError):
        raise InputError(f"the method's settings must be those of a form; got {shorten(value)}") from None
    return {name: text for name, text in texts.items() if text}


def written(row: Parameter, value: Any) -> str:
    """A value as a visitor would type it; nothing where it is left to the method."""
    if value is None:
        return ""
    return f"{value:g}" if row.kind == "float" else str(value)


def placeholder(row: Parameter) -> str:
    """What an emptied field says."""
    return AUTOMATIC if row.default is None else written(row, row.default)


def _row(row: Parameter, value: Any) -> dict[str, Any]:
    label = row.name.replace("_", " ") + (f" ({row.unit})" if row.unit else "")
    help_text = f"{row.help}; {row.allowed}" if row.help and row.kind != "choice" else row.help or row.allowed
    return {
        "name": row.name,
        "label": label[:1].upper() + label[1:],
        "help": help_text[:1].upper() + help_text[1:] + ".",
        "value": written(row, value),
        "placeholder": placeholder(row),
        **({"choices": list(row.choices)} if row.kind == "choice" else {}),
    }
