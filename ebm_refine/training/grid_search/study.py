"""A study that any number of processes or machines share: a seeded list of trials, queued once, from which each worker takes.

Optuna keeps it in a journal: a file that is only ever appended to. Whose trial is whose follows from the order of its lines,
so that no trial can be taken twice, and the lock is a symbolic link, which holds on network file systems too, where those that
SQLite needs often do not. Machines share a study by sharing that file's folder.

A worker beats while it computes. One that falls silent in the middle of a trial, killed or cut off, loses it: the next worker
with time to look marks the trial as failed and queues its setting anew. Silence is measured by the watcher's own clock, so that
clocks may differ between machines.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ebm_refine.errors import InputError
from ebm_refine.parameters import Parameter
from ebm_refine.training.grid_search.search_space import SPACE, Setting, Space, fingerprint, random_subset
from ebm_refine.utils.atomic_io import writable_folder

BEAT = Parameter("beat", "float", 10.0, 0.01, 3600.0, unit="seconds")
SILENT_BEATS = 9
POLL = 0.5  # seconds
# Attributes of a trial: its index in the list, its beats, and its result.
INDEX, BEATS, RESULT, IDENTITY = "place", "beats", "result", "identity"


class Plan(NamedTuple):
    """What a study is: its list of trials, and under which conditions (JSON values) each is run."""

    name: str
    per_family: int
    seed: int
    conditions: dict[str, Any]
    space: Space = SPACE

    def settings(self) -> list[Setting]:
        return random_subset(self.per_family, self.seed, self.space)

    def identity(self) -> dict[str, Any]:
        """All in which two studies must agree to be one."""
        return {
            "search space": fingerprint(self.space),
            "trials a family": self.per_family,
            "seed": self.seed,
            **self.conditions,
        }


class Study:
    """One plan's trials in one journal; opening it queues them where they are not yet there.

    Raises InputError where the journal cannot be written or the study of that name is another one, or Optuna is missing.
    """

    def __init__(self, journal: Path, plan: Plan):
        optuna = _optuna()
        journal = journal.resolve()
        if journal.is_dir():
            raise InputError(f"storage {str(journal)!r} is a folder; name a file")
        writable_folder(journal.parent)
        self.plan, self.settings = plan, plan.settings()
        self._states, self._create_trial = optuna.trial.TrialState, optuna.trial.create_trial
        self._lock_file = journal.with_name(f"{journal.name}.queue")
        self._lock = optuna.storages.journal.JournalFileSymlinkLock(str(self._lock_file))
        self._distributions = {
            name: optuna.distributions.CategoricalDistribution(_choices(plan.space, name)) for name in Setting._fields
        }
        with self._queue():
            try:
                _cut_half_line(journal)
                self._storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
                known = plan.name in optuna.get_all_study_names(self._storage)
                opened = optuna.load_study if known else partial(optuna.create_study, direction="maximize")
                self._study = opened(study_name=plan.name, storage=self._storage)
            except (OSError, ValueError, KeyError, TypeError) as error:
                reason = f"{type(error).__name__}: {error}"
                raise InputError(f"storage {str(journal)!r} is no readable journal of Optuna ({reason})") from None
            self._id = self._storage.get_study_id_from_name(plan.name)
            self._agree()
            self._fill()

    def take(self) -> tuple[int, Setting] | None:
        """Claim the next waiting trial for this process: its id and setting; None where none waits."""
        for trial in self._trials(self._states.WAITING):
            with suppress(_finished_error()):
                if self._storage.set_trial_state_values(self._trial_id(trial), self._states.RUNNING):
                    return self._trial_id(trial), self.settings[trial.user_attrs[INDEX]]
        return None

    def finish(self, trial: int, result: dict[str, Any]) -> bool:
        """Record `result`, JSON values with a finite "score"; False where the trial has meanwhile been given to another."""
        try:
            self._storage.set_trial_user_attr(trial, RESULT, result)
            return self._storage.set_trial_state_values(trial, self._states.COMPLETE, [result["score"]])
        except _finished_error():
            return False

    def give_back(self, trial: int) -> None:
        """Fail a running trial, whoever runs it, and queue its setting anew."""
        with self._queue():
            with suppress(_finished_error()):
                self._storage.set_trial_state_values(trial, self._states.FAIL)
            self._fill()

    @contextmanager
    def beating(self, trial: int, beat: float) -> Iterator[None]:
        """Show every `beat` seconds, from a thread of its own, that this process is still at work on a trial."""
        stop = threading.Event()

        def count() -> None:
            beats = 0
            while not stop.wait(beat):
                beats += 1
                with suppress(_finished_error()):
                    self._storage.set_trial_user_attr(trial, BEATS, beats)

        thread = threading.Thread(target=count, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def running(self) -> dict[int, int]:
        """The beats, by id, of every trial that is being run."""
        return {self._trial_id(trial): trial.user_attrs.get(BEATS, 0) for trial in self._trials(self._states.RUNNING)}

    def refill(self) -> None:
        """Queue whatever of the list is neither waiting, running nor done: what a killed process left out."""
        with self._queue():
            self._fill()

    def results(self) -> list[dict[str, Any]]:
        """Index in the list, setting and result of every trial that is done, in the list's order."""
        return _results(self._trials(self._states.COMPLETE))

    def _agree(self) -> None:
        """See that the stored study is this one. Raises InputError."""
        stored = self._study.user_attrs.get(IDENTITY)
        # As JSON gives it back: tuples as lists.
        wanted = json.loads(json.dumps(self.plan.identity()))
        if stored is None:
            self._study.set_user_attr(IDENTITY, wanted)
        elif stored != wanted:
            name = next(key for key in [*wanted, *stored] if stored.get(key) != wanted.get(key))
            raise InputError(
                f"study {self.plan.name!r} has another {name} ({_short(stored.get(name))}, here {_short(wanted.get(name))}): "
                "give this one another name, or another storage file"
            )

    def _fill(self) -> None:
        live = self._trials(self._states.WAITING, self._states.RUNNING, self._states.COMPLETE)
        queued = {trial.user_attrs[INDEX] for trial in live}
        for index, setting in enumerate(self.settings):
            if index not in queued:
                self._study.add_trial(
                    self._create_trial(
                        state=self._states.WAITING,
                        params=setting._asdict(),
                        distributions=self._distributions,
                        user_attrs={INDEX: index},
                    )
                )
                self._lock_file.touch()

    @contextmanager
    def _queue(self) -> Iterator[None]:
        """Inside, this process alone fills the queue. A holder that has not touched the file for 30 s loses the lock."""
        self._lock_file.touch()
        self._lock.acquire()
        try:
            yield
        finally:
            with suppress(RuntimeError):  # no longer ours
                self._lock.release()

    def _trial_id(self, trial: Any) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)

    def _trials(self, *states: Any) -> list[Any]:
        return self._storage.get_all_trials(self._id, deepcopy=False, states=states)


class Stored(NamedTuple):
    """A study as it lies in its journal: `identity` as of its `Plan`, how many trials were `queued`, and `results` so far."""

    identity: dict[str, Any]
    queued: int
    results: list[dict[str, Any]]


def read_study(journal: Path, name: str) -> Stored:
    """The study `name` of a journal, read-only. Raises InputError where there is none."""
    optuna = _optuna()
    if not journal.is_file():
        raise InputError(f"storage {str(journal)!r} is no file")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal.resolve())))
    names = optuna.get_all_study_names(storage)
    if name not in names:
        raise InputError(f"study must be one of {', '.join(names) or '(none stored)'}; got {name!r}")
    study = optuna.load_study(study_name=name, storage=storage)
    trials = study.get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    return Stored(study.user_attrs[IDENTITY], len({trial.user_attrs[INDEX] for trial in trials}), _results(done))


def work(
    study: Study,
    objective: Callable[[Setting], dict[str, Any]],
    *,
    limit: float | None = None,
    beat: float = BEAT.default,
    log: Callable[[str], None] = lambda line: None,
) -> int:
    """Take trials until all are done, or until no new one may be begun after `limit` seconds; gives how many were done here.

    `objective` gives JSON values with a finite "score"; where it raises, its trial goes back into the queue and the error on.
    A trial whose worker has been silent for `SILENT_BEATS` beats is queued anew.
    """
    began, done = time.monotonic(), 0
    heard: dict[int, tuple[int, float]] = {}
    while limit is None or time.monotonic() - began < limit:
        heard = _listen(study, heard, SILENT_BEATS * beat, log)
        if (claimed := study.take()) is None:
            if study.running():
                time.sleep(min(beat, POLL))
                continue
            study.refill()
            if (claimed := study.take()) is None:
                break
        trial, setting = claimed
        try:
            with study.beating(trial, beat):
                result = objective(setting)
        except BaseException:
            study.give_back(trial)
            raise
        if study.finish(trial, result):
            done += 1
            log(f"{len(study.results())}/{len(study.settings)}: {_words(setting)}: {result['score']:.3f}")
    return done


def _listen(
    study: Study, heard: dict[int, tuple[int, float]], patience: float, log: Callable[[str], None]
) -> dict[int, tuple[int, float]]:
    """The beats of the running trials and when each was last seen to change; silent trials go back into the queue."""
    now = time.monotonic()
    fresh = {}
    for trial, beats in study.running().items():
        before = heard.get(trial)
        fresh[trial] = before if before is not None and before[0] == beats else (beats, now)
        if now - fresh[trial][1] > patience:
            log(f"trial {trial}: no sign of its worker for {patience:.0f} s, queued anew")
            study.give_back(trial)
    return fresh


def _cut_half_line(journal: Path) -> None:
    """Cut off a last line that a full disk or a power cut left half-written: the next line would be written to its end.

    Optuna would then read neither, nor any line behind them.
    """
    if not journal.exists():
        return
    lock = _optuna().storages.journal.JournalFileSymlinkLock(str(journal))  # the one of those who write lines
    lock.acquire()
    try:
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole and b'"op_code"' in content.partition(b"\n")[0]:  # not of a file that is something else
            os.truncate(journal, whole)
    finally:
        lock.release()


def _results(done: list[Any]) -> list[dict[str, Any]]:
    rows = [{INDEX: trial.user_attrs[INDEX], **trial.params, **trial.user_attrs[RESULT]} for trial in done]
    return sorted(rows, key=lambda row: row[INDEX])


def _words(setting: Setting) -> str:
    return " ".join(f"{name}={value}" for name, value in setting._asdict().items())


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _choices(space: Space, name: str) -> list[Any]:
    """Every value an axis has in any family: Optuna wants one range for each name."""
    values = list(space) if name == "family" else [value for axes in space.values() for value in axes[name]]
    return list(dict.fromkeys(values))


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise InputError("the search needs the package optuna: pip install 'ebm-refine[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _finished_error() -> type[Exception]:
    from optuna.exceptions import UpdateFinishedTrialError

    return UpdateFinishedTrialError
