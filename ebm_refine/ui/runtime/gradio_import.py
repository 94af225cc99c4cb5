"""Imports Gradio in half its time: no type stub of a component is compared or written.

Gradio 6.31.0 does that at every import (`component_meta.create_or_modify_pyi`), for those who write components. The stubs are
part of its package. It passes over a class whose source file cannot be found.
"""

import inspect
from typing import Any


def import_gradio() -> None:
    """Import Gradio; its components' source files cannot be found meanwhile."""
    module: Any = inspect
    found = module.getfile

    def unless_component(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError(f"{thing.__name__} gets no stub")
        return str(found(thing))

    module.getfile = unless_component
    try:
        import gradio  # noqa: F401
    finally:
        module.getfile = found
