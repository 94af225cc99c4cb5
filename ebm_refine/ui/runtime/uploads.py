"""How much visitors may upload: one picture a request, so many an address, so many bytes in all while they lie on the disk."""

import re
import time
from collections import deque
from typing import NamedTuple

from ebm_refine.tasks.digit_preprocessing import MAX_BYTES as MAX_FILE
from ebm_refine.ui.runtime.json_bodies import Refused

# The file, its name and type, and the lines around them.
MAX_BODY = MAX_FILE + 10_000
# A file lies on the disk as long as `gr.Blocks(delete_cache=(600, 1800))` leaves it there.
STORED_SECONDS = 600 + 1800
MAX_STORED_BYTES = 400_000_000
MAX_STORED = 2_000
MAX_PER_ADDRESS = 100
_BOUNDARY = re.compile(rb'boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)


class _Upload(NamedTuple):
    when: float
    size: int
    address: str | None


def check_parts(content_type: bytes, body: bytes) -> None:
    """Raises Refused unless the body is a form with one part."""
    found = _BOUNDARY.search(content_type) if content_type.lower().startswith(b"multipart/form-data") else None
    if found is None:
        raise Refused(415, "an upload must be a form of type multipart/form-data")
    parts = body.count(b"--" + found[1]) - body.count(b"--" + found[1] + b"--")
    if parts != 1:
        raise Refused(413 if parts else 400, f"an upload must be one file; this form has {parts} parts")


class Uploads:
    """What lies on the disk of the uploads so far, as far as is known here: never less than what does."""

    def __init__(self) -> None:
        self.recent: deque[_Upload] = deque()

    def admit(self, size: int, address: str | None) -> None:
        """Take an upload of `size` bytes into account. Raises Refused where there have been too many."""
        now = time.monotonic()
        while self.recent and now - self.recent[0].when > STORED_SECONDS:
            self.recent.popleft()
        of_address = [one for one in self.recent if one.address == address] if address is not None else []
        if len(of_address) >= MAX_PER_ADDRESS:
            wait = self._wait(of_address[0], now)
            raise Refused(429, f"{MAX_PER_ADDRESS} pictures came from your address; the next may come in {wait} s", wait)
        if len(self.recent) >= MAX_STORED or size + sum(one.size for one in self.recent) > MAX_STORED_BYTES:
            wait = self._wait(self.recent[0], now)
            raise Refused(503, f"the server's space for uploads is full; try again in {wait} s", wait)
        self.recent.append(_Upload(now, size, address))

    @staticmethod
    def _wait(first: _Upload, now: float) -> int:
        return max(1, round(first.when + STORED_SECONDS - now))
