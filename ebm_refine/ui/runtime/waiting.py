"""Who may wait for a lane of runs, for how long, and whose run is next: the rules, without the server that applies them.

A lane computes one run at a time. Its line is bounded in runs and in the time that they are expected to take; a client has so
many runs in it, and clients take turns, so that a client with many runs delays only itself.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from ebm_refine.errors import InputError
from ebm_refine.ui.runtime.json_bodies import Refused
from ebm_refine.ui.runtime.limits import MAX_SECONDS, MAX_WAITING

MAX_WAITING_SECONDS = 900
MAX_WAITING_PER_CLIENT = 4
MAX_WAITING_PER_ADDRESS = 8
# Looks of one client that compute at a time, and that wait for that: nobody clicks faster.
MAX_LOOKING_PER_CLIENT = 4
# Of all together: fewer than there are threads (40), so that pages, direct calls and runs find one whatever looks compute.
MAX_LOOKING = 24
MAX_LOOKS_PER_CLIENT = 64
MAX_LOOKS = 1_000
# A run of which nothing is known; how long any run takes to begin and to be measured; and seconds for a gradient evaluation,
# until runs of at least so many have shown better.
UNKNOWN_SECONDS, START_SECONDS, SECONDS_PER_EVALUATION, LEAST_EVALUATIONS = 20.0, 2.0, 1e-3, 2_000
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Waiting(NamedTuple):
    """A run in the line: its client (a session, or an address where there is none), its address if public, its time."""

    client: str
    address: str | None
    seconds: float


class Speed:
    """How long runs take, learned from those that have ended."""

    def __init__(self) -> None:
        self.seconds_per_evaluation = SECONDS_PER_EVALUATION

    def seconds(self, evaluations: float | None) -> float:
        """What a run is expected to take, of `evaluations` gradient evaluations; None where that is not known."""
        if evaluations is None:
            return UNKNOWN_SECONDS
        return min(START_SECONDS + evaluations * self.seconds_per_evaluation, MAX_SECONDS)

    def learn(self, evaluations: float | None, seconds: float) -> None:
        """Take a run that came to its end into account."""
        if evaluations is not None and evaluations >= LEAST_EVALUATIONS:
            self.seconds_per_evaluation += 0.3 * (seconds / evaluations - self.seconds_per_evaluation)


def priced(work: Callable[..., float]) -> Callable[[F], F]:
    """Decorate what a lane runs with `work`, which gives of the same arguments the gradient evaluations that they ask for."""

    def mark(run: F) -> F:
        run.evaluations = work  # type: ignore[attr-defined]
        return run

    return mark


def evaluations_of(run: Any, values: Sequence[Any]) -> float | None:
    """The cost of a run with these raw values; 0 where it is invalid, None where it is unknown."""
    work = getattr(run, "evaluations", None)
    if work is None:
        return None
    try:
        return float(work(*values))
    except (InputError, TypeError):  # too few values are such a refusal too
        return 0.0


def admit(one: Waiting, line: Sequence[Waiting], ahead: float) -> None:
    """Raises Refused where the queue is full; `ahead` are the seconds until the first of it may begin.

    The sentence names the wait, and so does `retry_after`.
    """
    own = [other for other in line if other.client == one.client]
    near = [other for other in line if one.address is not None and other.address == one.address]
    for runs, most, whose in ((own, MAX_WAITING_PER_CLIENT, "you have"), (near, MAX_WAITING_PER_ADDRESS, "your address has")):
        if len(runs) >= most:
            wait = _whole(ahead + sum(other.seconds for other in line[: line.index(runs[0])]))
            raise Refused(429, f"{whose} {len(runs)} runs waiting; the next may join them in about {wait} s", wait)
    seconds = sum(other.seconds for other in line)
    if len(line) >= MAX_WAITING or (line and seconds + one.seconds > MAX_WAITING_SECONDS):
        wait = _whole(ahead)
        total = f"{len(line)} runs wait, for about {_whole(ahead + seconds)} s together"
        raise Refused(503, f"Queue is full: {total}; try again in about {wait} s", wait)


def admit_look(client: str, clients: Sequence[str]) -> None:
    """Raises Refused where `clients`, those of all looks in line, are too many to add another of `client`."""
    if clients.count(client) >= MAX_LOOKS_PER_CLIENT:
        raise Refused(429, f"{MAX_LOOKS_PER_CLIENT} of your requests wait already; try again in a second", 1)
    if len(clients) >= MAX_LOOKS:
        raise Refused(503, f"{MAX_LOOKS} requests wait already; try again in a second", 1)


def in_turns(line: Sequence[T], client_of: Callable[[T], str], running: Iterable[str]) -> list[T]:
    """The order in which a line is served: everyone's first run, then everyone's second, each as they came.

    `running` are the clients whose runs are computing, which are their first.
    """
    seen = Counter(running)
    turns = []
    for one in line:
        turns.append(seen[client_of(one)])
        seen[client_of(one)] += 1
    return [line[number] for number in sorted(range(len(line)), key=turns.__getitem__)]


def _whole(seconds: float) -> int:
    return max(1, round(seconds))
