"""Who asks: the address that a request comes from, as far as it tells one visitor from another."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from ebm_refine.ui.runtime.json_bodies import Refused

# A page holds two connections open, its events and its heartbeat, and loads with six more.
MAX_OPEN = 600
MAX_OPEN_PER_ADDRESS = 60


def public_address(host: str | None, headers: Mapping[str, str]) -> str | None:
    """The address of the client, or None where only addresses of this machine or of its own network are known.

    A peer in the own network may be a proxy, which then writes whom it serves at the end of X-Forwarded-For; what stands before
    that is the visitor's own word. A public peer is its own witness.
    """
    for candidate in (host or "", *reversed(headers.get("x-forwarded-for", "").split(","))):
        try:
            address = ip_address(candidate.strip())
        except ValueError:
            return None
        if not address.is_private:
            # Whoever has one IPv6 address has 2**64 of them.
            return str(address) if address.version == 4 else ":".join(address.exploded.split(":")[:4])
    return None


def address_of(scope: Mapping[str, Any]) -> str | None:
    """The same of an ASGI scope."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return public_address((scope.get("client") or ("",))[0], headers)


class OpenRequests:
    """How many requests are open, streams of events among them."""

    def __init__(self) -> None:
        self.total = 0
        self.of: Counter[str] = Counter()

    @contextmanager
    def one_more(self, address: str | None) -> Iterator[None]:
        """Raises Refused where there are too many."""
        if self.total >= MAX_OPEN:
            raise Refused(503, f"the server has {MAX_OPEN} requests open; try again in a minute", 60)
        if address is not None and self.of[address] >= MAX_OPEN_PER_ADDRESS:
            raise Refused(429, f"{MAX_OPEN_PER_ADDRESS} requests from your address are open; close some first", 10)
        self.total += 1
        if address is not None:
            self.of[address] += 1
        try:
            yield
        finally:
            self.total -= 1
            if address is not None:
                self.of[address] -= 1
                if not self.of[address]:
                    del self.of[address]
