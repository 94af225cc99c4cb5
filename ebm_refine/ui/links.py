"""Settings as the query of a link and back. Nothing is stored: the link is the settings."""

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ebm_refine.parameters import Parameter
from ebm_refine.samplers import METHODS
from ebm_refine.settings import COMMON, MAIN, Settings
from ebm_refine.ui.running import checked


def query_of(settings: Settings) -> str:
    """`?model=…&method=…` with every value that is not left to the method."""
    named = settings.as_dict()
    named |= named.pop("options")
    return "?" + urlencode({name: value for name, value in named.items() if value is not None})


def settings_from(query: Mapping[str, str]) -> Settings | None:
    """The settings that a link's query names, or None where it names no model. Raises InputError for wrong values."""
    if "model" not in query:
        return None
    method = query.get("method")
    rows = {row.name: row for row in (*COMMON, *_method_rows(method))}
    values = {name: row.parse_text(query[name]) for name, row in rows.items() if name in query}
    options = {name: values.pop(name) for name in list(values) if name not in MAIN and name not in {row.name for row in COMMON}}
    arguments: dict[str, Any] = {**values, "options": options}
    return checked(query["model"], arguments | ({"method": method} if method is not None else {}))


def _method_rows(method: str | None) -> tuple[Parameter, ...]:
    return METHODS[method].parameters if method in METHODS else ()


def space_address() -> str:
    """Where a Space is to be opened, inside the Hub's frame; empty elsewhere: the browser then knows better."""
    space = os.environ.get("SPACE_ID")
    return f"https://huggingface.co/spaces/{space}" if space else ""
