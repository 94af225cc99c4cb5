"""What the JSON body of a call may hold, checked before Gradio walks it, copies it and looks for files in it.

The walk costs Gradio milliseconds a value and happens on the loop that serves everyone; a file that a body names by its address
is fetched. So a body is measured in its bytes first, then parsed once, then looked through.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# Sixteen pictures of a digit as text are the largest call that anyone needs; a telephone's photograph is uploaded instead.
MAX_BYTES = 8_000_000
# A mask of 28 x 28 is the call of most values.
MAX_VALUES = 4_000
MAX_DEPTH = 12
# A picture of 2 MB as base64 text, and as much again, so that the refusal of a larger one is the library's.
MAX_TEXT = 5_000_000
# Names and addresses of sessions and events: Gradio's own have 11 to 32 characters.
MAX_NAME = 64
# Parameters refuse NaN and infinity by their own name: values of a call, and those of its options.
NUMBERS_DEPTH = 2
_TEXTS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


class Refused(Exception):  # noqa: N818, as it is no fault of this program
    """A request that is not served: its status, and one sentence that says why."""

    def __init__(self, status: int, sentence: str, retry_after: int | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after


class _Item(NamedTuple):
    value: Any
    depth: int
    numbers: bool  # whether NaN and infinity may stand here
    file: bool  # whether a file's record may stand here


def _no_files(value: Any) -> frozenset[int]:
    return frozenset()


def parsed(body: bytes, values_of: Callable[[Any], Any], files: Callable[[Any], frozenset[int]] = _no_files) -> Any:
    """The value of a JSON body. `values_of` gives the list or object of a call's values, `files` the positions of that
    list where the record of an upload may stand.

    Raises Refused, one sentence: for what is no JSON in UTF-8, has too many values or levels, a text that is too long or no
    Unicode, the record of a file where none is taken, or NaN or infinity anywhere but as a value of the call.
    """
    if len(body) > MAX_BYTES:
        raise too_large(MAX_BYTES)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Refused(400, "the body must be JSON in UTF-8; its bytes are not UTF-8") from None
    if _marks(body) > MAX_VALUES and _marks(_TEXTS.sub(b'""', body)) > MAX_VALUES:
        raise Refused(413, f"the body must hold at most {MAX_VALUES} values")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise Refused(400, "there was an error parsing the body: a number in it has too many digits") from None
    _look_through(value, values_of(value), files(value))
    return value


def too_large(most: int) -> Refused:
    return Refused(413, f"the body must be at most {most / 1e6:g} MB")


def _too_deep() -> Refused:
    return Refused(413, f"the body must be nested at most {MAX_DEPTH} levels deep")


def _marks(body: bytes) -> int:
    """Never fewer than the values in it, where texts hold no marks of their own."""
    return sum(body.count(mark) for mark in (b"[", b"{", b","))


def _look_through(value: Any, values: Any, files: frozenset[int]) -> None:
    waiting = [_Item(value, 0, False, False)]
    while waiting:
        item = waiting.pop()
        value, depth = item.value, item.depth
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, float):
            if not item.numbers and not math.isfinite(value):
                raise Refused(400, "NaN and infinity are not JSON; of numbers in the body only a call's values may be so")
        elif isinstance(value, dict | list):
            if depth >= MAX_DEPTH:
                raise _too_deep()
            if isinstance(value, dict) and is_file(value) and not item.file:
                raise Refused(400, "files are not taken here: an image travels as base64 text")
            inside = value is values
            numbers = inside or (item.numbers and depth <= 1 + NUMBERS_DEPTH)
            if isinstance(value, dict):
                for name, one in value.items():
                    _check_text(name)
                    # The page tells of a file's change with the file's record once more.
                    again = depth == 0 and name == "event_data" and any(one == values[position] for position in files)
                    waiting.append(_Item(one, depth + 1, numbers, again))
            else:
                waiting += [_Item(one, depth + 1, numbers, inside and position in files) for position, one in enumerate(value)]


def _check_text(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise Refused(413, f"a text in the body must have at most {MAX_TEXT} characters")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Refused(400, "a text in the body is no Unicode: it has half of a surrogate pair") from None


def is_file(value: Mapping[str, Any]) -> bool:
    """Whether Gradio, or a component of its own, may take this object for the record of a file."""
    meta = value.get("meta")
    return (isinstance(meta, dict) and "_type" in meta) or "path" in value or "url" in value
