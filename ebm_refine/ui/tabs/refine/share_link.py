"""Settings as the query of a link and back. Nothing is stored: the link is the settings."""

import os
from collections.abc import Mapping
from urllib.parse import urlencode

from ebm_refine.energies.labels import label_parameter
from ebm_refine.settings import COMMON, MAIN, Settings, method_for
from ebm_refine.ui.tabs.refine.job import checked, model_named


def query_of(settings: Settings) -> str:
    """`?model=…&method=…` with every value that is not left to the method."""
    named = settings.as_dict()
    named |= named.pop("options")
    return "?" + urlencode({name: value for name, value in named.items() if value is not None})


def settings_from(query: Mapping[str, str]) -> Settings | None:
    """The settings that a link's query names, or None where it names no model. Raises InputError for wrong values."""
    if "model" not in query:
        return None
    info = model_named(query["model"])
    method = method_for(info.name, info.config, query.get("method"))
    label = label_parameter(info.config)
    common = (*COMMON, *([label] if label else []))
    rows = {row.name: row for row in (*common, *method.parameters)}
    values = {name: row.parse_text(query[name]) for name, row in rows.items() if name in query}
    options = {name: values.pop(name) for name in list(values) if name not in MAIN and name not in {row.name for row in common}}
    return checked(info.name, {**values, "method": method.name, "options": options})


def space_address() -> str:
    """Where a Space is to be opened, inside the Hub's frame; empty elsewhere: the browser then knows better."""
    space = os.environ.get("SPACE_ID")
    return f"https://huggingface.co/spaces/{space}" if space else ""
