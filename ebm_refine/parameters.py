"""The type of one parameter row. Page controls, command-line flags, the API's schema and validation all read these rows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ebm_refine.errors import InputError


@dataclass(frozen=True)
class Parameter:
    """One setting: its name, kind, range, default, unit and help.

    `kind` is "float", "int" or "choice". Numbers lie in [low, high], both ends allowed; a choice is one of `choices`.
    `scale` is "log" where a slider should feel logarithmic. `default` None means "let the method decide" and is then itself
    an allowed value.
    """

    name: str
    kind: str
    default: Any
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    unit: str = ""
    help: str = ""
    scale: str = "linear"

    @property
    def allowed(self) -> str:
        """The allowed range in words, as error messages and help texts print it."""
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        noun = "a whole number" if self.kind == "int" else "a number"
        return f"{noun} from {_plain(self.low)} to {_plain(self.high)}"

    def parse(self, value: Any) -> Any:
        """Check `value` and give it in its Python type. Raises InputError, one sentence with value and allowed range."""
        if value is None and self.default is None:
            return None
        if self.kind == "choice":
            if isinstance(value, str) and value in self.choices:
                return value
            raise self._error(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(value)
        if not self.low <= value <= self.high:
            raise self._error(value)
        if self.kind == "int":
            if value != int(value):
                raise self._error(value)
            return int(value)
        return float(value)

    def given(self, value: Any) -> Any:
        """Like `parse`, for the content of a field on the page: an empty one gives the default."""
        if value is None or (isinstance(value, str) and not value.strip()):
            return self.default
        return self.parse_text(value.strip()) if isinstance(value, str) else self.parse(value)

    def parse_text(self, text: str) -> Any:
        """Like `parse`, for a value that arrives as text (a command-line flag, a URL key)."""
        if self.kind == "choice":
            return self.parse(text)
        if text.lower() == "none" and self.default is None:
            return None
        try:
            value: float | int = int(text)
        except ValueError:
            try:
                value = float(text)
            except ValueError:
                raise self._error(text) from None
        return self.parse(value)

    def _error(self, value: Any) -> InputError:
        return InputError(f"{self.name} must be {self.allowed}; got {shorten(value)}")


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names for a sentence: all of them up to `most`, else the first ones and how many there are."""
    names = list(names)
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])}, … ({len(names)} in all)"


def shorten(value: Any, limit: int = 60) -> str:
    """A value as an error message shows it: its repr, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # a repr that fails, or an integer too long to print, must not hide the real message
        text = f"a {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(number: float) -> str:
    return f"{number:,}".replace(",", "") if isinstance(number, int) else f"{number:g}"
