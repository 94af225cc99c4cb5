"""Flags that several commands share, and how their text becomes values; what values are allowed is checked by their rows."""

import argparse
from collections.abc import Sequence
from typing import Any

from ebm_refine.errors import InputError


def add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--eps", help="step size")
    parser.add_argument("--n-steps", help="transitions, or proposals an image")
    parser.add_argument("--temperature")
    parser.add_argument("--beta", default="1")
    parser.add_argument("--label", help="the class of all images, of a model that has classes; without it drawn for each")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a further option of the method")


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--precision", default="auto", help="auto, fp32 (exact) or bf16 (of inner convolutions)")


def settings_of(chosen: argparse.Namespace) -> dict[str, Any]:
    """The sampling settings among the flags, as arguments of `refine`; values are checked there, against their rows."""
    settings: dict[str, Any] = {"beta": number(chosen.beta)}
    for name in ("eps", "n_steps", "temperature"):
        if getattr(chosen, name) is not None:
            settings[name] = number(getattr(chosen, name))
    if chosen.label is not None:
        settings["label"] = number(chosen.label)
    options = {}
    for item in chosen.set:
        name, found, value = item.partition("=")
        if not found:
            raise InputError(f"--set takes name=value; got {item!r}")
        options[name.replace("-", "_")] = number(value)
    return {**settings, "options": options}


def number(text: str) -> Any:
    """A number where the text is one; else the text, which the row's check then refuses or, for a choice, takes."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def sweep_of(text: str | None) -> dict[str, Sequence[float]]:
    sweep: dict[str, Sequence[float]] = {}
    for item in text.split(",") if text else ():
        name, found, values = item.partition("=")
        if not found or not values:
            raise InputError(f"--sweep takes name=value/value,name=value/value; got {text!r}")
        sweep[name] = [number(value) for value in values.split("/")]
    return sweep
