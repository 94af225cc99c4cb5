"""A queue in which looking never waits for runs, clients take turns, and what nobody listens to is ended."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
import orjson
from gradio.queueing import Event, Queue
from gradio.route_utils import get_fn
from gradio.server_messages import ProcessCompletedMessage, ProcessGeneratingMessage
from gradio.utils import run_coro_in_background

from ebm_refine.ui.runtime import waiting
from ebm_refine.ui.runtime.json_bodies import Refused
from ebm_refine.ui.runtime.visitors import public_address

# A job is ended when nobody has listened to it for so long; its last message is stored for a client that asks a little later.
UNHEARD_SECONDS, SWEEP_SECONDS, STORED_SECONDS = 4.0, 0.25, 60.0
# Updates that wait for a reader who is slow: later ones are left out, and the end comes whole.
MAX_UNREAD = 50


class FairQueue(Queue):
    """Gradio's queue, in which looking never waits for runs, clients take turns, and what nobody listens to is ended.

    Gradio's own counts looks and runs together, lets one caller fill it, serves strictly in order, runs what was abandoned to
    its end, and keeps every message for readers who never come. Runs are the events of a lane: they are limited to one at a
    time; looks are all others.
    """

    def __init__(self, page: Any, plain: Queue):
        super().__init__(plain.live_updates, plain.max_thread_count, plain.update_intervals, None, page)
        self.default_concurrency_limit = plain.default_concurrency_limit
        self.ANALYTICS_MAX_EVENTS = 100
        self.page = page
        self.speed = waiting.Speed()
        self.listeners: Counter[str] = Counter()
        self.evaluations: dict[str, float | None] = {}
        self.began: dict[str, float] = {}
        # Of events under way, whether their last update was sent.
        self._sent: dict[str, bool] = {}
        self._unheard: dict[str, float] = {}
        self._idle: dict[str, float] = {}

    def compute_analytics_summary(self, records: Any) -> dict[str, Any]:
        """Nobody reads it, and Gradio builds a table of all events for it whenever one ends."""
        return self.cached_event_analytics_summary

    def start(self) -> None:
        super().start()
        run_coro_in_background(self._sweep)

    # --- Who may join, and who is next -----------------------------------------------------------------------------------

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """As Gradio's. Raises Refused, which names the wait, where the client or all together have enough waiting."""
        fn = get_fn(self.blocks, None, body)
        address = public_address(request.client.host if request.client else None, request.headers)
        client = address or body.session_hash or "no session"
        evaluations = waiting.evaluations_of(fn.fn, body.data) if is_run(fn) else None
        if is_run(fn):
            one = waiting.Waiting(body.session_hash or client, address, self.speed.seconds(evaluations))
            try:
                waiting.admit(one, [self._waiting(event) for event in self._runs()], self._ahead())
            except Refused as refused:
                # Gradio's page tells of a 503 that the application is busy, and of any other refusal what it says.
                in_browser = "sec-fetch-mode" in request.headers
                raise Refused(429 if in_browser else refused.status, refused.sentence, refused.retry_after) from None
            if any(block.stateful for block in fn.outputs):
                self.page.state_holder.free_memory(body.session_hash or "")
        else:
            looks = [e for lane in self.event_queue_per_concurrency_id.values() for e in lane.queue if not is_run(e.fn)]
            waiting.admit_look(client, [self._client(event) for event in looks])
        answer = await super().push(body, request, username)
        if is_run(fn) and answer[0]:
            self.evaluations[str(answer[1])] = evaluations
        return answer

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The next event: of a lane in turns, of looks the first whose client has not enough of them computing."""
        lanes = list(self.event_queue_per_concurrency_id.items())
        looking = sum(not is_run(event.fn) for event in self._active())
        random.shuffle(lanes)
        for name, lane in lanes:
            if not lane.queue or lane.current_concurrency == lane.concurrency_limit:
                continue
            busy = Counter(self._client(event) for event in self._active() if event.concurrency_id == name)
            if is_run(lane.queue[0].fn):
                event: Event | None = waiting.in_turns(lane.queue, self._client, busy.elements())[0]
            elif looking >= waiting.MAX_LOOKING:
                continue
            else:
                free = (one for one in lane.queue if busy[self._client(one)] < waiting.MAX_LOOKING_PER_CLIENT)
                event = next(free, None)
            if event is not None:
                self.began[event._id] = time.monotonic()
                lane.queue.remove(event)
                return [event], False, name
        return None

    async def process_events(self, events: list[Event], batch: bool, begin_time: float, fn: Any) -> None:
        """As Gradio's; remembers how long a run took that somebody waited for to its end."""
        await super().process_events(events, batch, begin_time, fn)
        for event in events:
            if event.session_hash == event._id:  # a call without a session
                self.page.state_holder.drop(event._id)
            self._sent.pop(event._id, None)
            began = self.began.pop(event._id, None)
            evaluations = self.evaluations.pop(event._id, None)
            if began is not None and event.alive and self.event_analytics.get(event._id, {}).get("status") == "success":
                self.speed.learn(evaluations, time.monotonic() - began)

    def _client(self, event: Event) -> str:
        return self._address(event) or (event.session_hash if event.session_hash != event._id else "no session")

    def _waiting(self, event: Event) -> waiting.Waiting:
        client = event.session_hash if event.session_hash != event._id else self._client(event)
        return waiting.Waiting(client, self._address(event), self.speed.seconds(self.evaluations.get(event._id)))

    @staticmethod
    def _address(event: Event) -> str | None:
        return public_address(event.request.client.host if event.request.client else None, event.request.headers)

    def _active(self) -> list[Event]:
        return [event for job in self.active_jobs if job for event in job]

    def _runs(self) -> list[Event]:
        """All runs that wait."""
        return [event for lane in self.event_queue_per_concurrency_id.values() for event in lane.queue if is_run(event.fn)]

    def _ahead(self) -> float:
        """Estimated seconds until a lane is free."""
        now = time.monotonic()
        left = [
            self.speed.seconds(self.evaluations.get(event._id)) - (now - self.began.get(event._id, now))
            for event in self._active()
            if is_run(event.fn)
        ]
        return max([0.0, *left])

    # --- Who listens -------------------------------------------------------------------------------------------------------

    @contextmanager
    def listened(self, name: str) -> Iterator[None]:
        """While somebody listens to the events of a session, or to one event. Raises Refused where there is none."""
        known = name in self.pending_messages_per_session or name in self.event_ids_to_events
        if not known and not any(name in events for events in self.pending_event_ids_session.values()):
            raise Refused(404, f"there is no such event or session; what is not fetched is stored for {STORED_SECONDS:.0f} s")
        self.listeners[name] += 1
        try:
            yield
        finally:
            self.listeners[name] -= 1
            if not self.listeners[name]:
                del self.listeners[name]

    def send_message(self, event: Event, event_message: Any) -> None:
        """As Gradio's, without end: a reader who does not read gets no more updates, and then the end.

        Gradio ends a generator's event by sending its last update again; to the page, which has it, the end says nothing new.
        """
        unread = self.pending_messages_per_session.get(event.session_hash)
        if unread is None:  # the session was forgotten: nobody has listened for a while
            return
        full = unread.qsize() >= MAX_UNREAD
        if isinstance(event_message, ProcessGeneratingMessage):
            self._sent[event._id] = not full
        if full and not isinstance(event_message, ProcessCompletedMessage):
            return
        if isinstance(event_message, ProcessCompletedMessage):
            event_message.output = _plain(event_message.output)
            if self._sent.pop(event._id, False) and event_message.success and event.fn.api_visibility == "private":
                event_message.output = {**event_message.output, "data": [gr.skip() for _ in event_message.output["data"]]}
        super().send_message(event, event_message)

    async def _sweep(self) -> None:
        while not self.stopped:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for event in [*self._runs(), *(event for event in self._active() if is_run(event.fn))]:
                if self.listeners[event.session_hash] or self.listeners[event._id]:
                    self._unheard.pop(event._id, None)
                elif event.alive and now - self._unheard.setdefault(event._id, now) >= UNHEARD_SECONDS:
                    await self._end(event)
            self._unheard = {name: since for name, since in self._unheard.items() if name in self.event_ids_to_events}
            self._forget(now)

    async def _end(self, event: Event) -> None:
        said = f"nobody listened to this run for {UNHEARD_SECONDS:.0f} s, so it was ended; ask for its events at once"
        self.send_message(event, ProcessCompletedMessage(output={"error": said}, success=False))
        event.alive = False  # a run that computes is closed at its next sign of life, five times a second
        async with self.delete_lock:
            lane = self.event_queue_per_concurrency_id[event.concurrency_id]
            if event in lane.queue:
                lane.queue.remove(event)
                self.event_ids_to_events.pop(event._id, None)
                self.evaluations.pop(event._id, None)

    def _forget(self, now: float) -> None:
        """Drop what was said to sessions that have no event any more and to which nobody has listened for a minute."""
        busy = {event.session_hash for event in self.event_ids_to_events.values()}
        for session in [*self.pending_messages_per_session, *self.pending_event_ids_session]:
            names = {session, *self.pending_event_ids_session.get(session, ())}
            if session in busy or any(self.listeners[name] for name in names):
                self._idle.pop(session, None)
            elif now - self._idle.setdefault(session, now) >= STORED_SECONDS:
                self.pending_messages_per_session.pop(session, None)
                self.pending_event_ids_session.pop(session, None)
                del self._idle[session]


def _plain(output: dict[str, Any]) -> dict[str, Any]:
    """With the values of ready JSON, which direct calls send as it is: streams of events are written by Python's own `json`."""
    data = output.get("data")
    if not isinstance(data, list) or not any(isinstance(one, orjson.Fragment) for one in data):
        return output
    return {**output, "data": [orjson.loads(orjson.dumps(one)) if isinstance(one, orjson.Fragment) else one for one in data]}


def is_run(fn: Any) -> bool:
    """Whether an event computes in a lane, where one runs at a time; all others only look."""
    return isinstance(fn.concurrency_limit, int)
