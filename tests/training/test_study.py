"""The shared study: no trial lost, none done twice, whoever is killed; another study under the same name is refused."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from ebm_refine.errors import InputError
from ebm_refine.training.grid_search.search_space import SPACE, Setting, fingerprint, random_subset, settings_of
from ebm_refine.training.grid_search.study import SILENT_BEATS, Plan, Study, read_study, work

pytest.importorskip("optuna")
BEAT = 0.02  # where no worker but a killed one may fall silent
PLAN = Plan("grid", 8, 0, {"batches": 7})
FORK = multiprocessing.get_context("fork")


def found(setting: Setting) -> dict:
    return {"score": setting.size_g / 3200 + setting.rate}


def noting(file: Path, seconds: float = 0.0):
    """A cheap objective that writes down, in one line, what it was given."""

    def objective(setting: Setting) -> dict:
        with open(file, "a") as notes:
            notes.write(json.dumps(setting) + "\n")
        time.sleep(seconds)
        return found(setting)

    return objective


def noted(*files: Path) -> list[Setting]:
    return [Setting(*json.loads(line)) for file in files if file.exists() for line in file.read_text().splitlines()]


def process(target, *arguments):
    started = FORK.Process(target=target, args=arguments, daemon=True)
    started.start()
    return started


def worker(journal: Path, notes: Path, together) -> None:
    together.wait()
    work(Study(journal, PLAN), noting(notes, 0.005), beat=5.0)


def test_the_space_is_the_published_one():
    assert {family: len(settings_of(family)) for family in SPACE} == {"gan": 6144, "ebgan": 512, "ebgan-pt": 512}
    for family in SPACE:
        assert len(set(settings_of(family))) == len(settings_of(family))
    assert {setting.rate for setting in settings_of("ebgan")} == {0.001}
    assert {setting.rate for setting in settings_of("gan")} == {0.01, 0.001, 0.0001}


def test_the_fingerprint_names_the_space():
    assert fingerprint() == "745a933285c5" + fingerprint()[12:]
    for other in (
        {**SPACE, "gan": {**SPACE["gan"], "rate": (0.01, 0.001)}},
        {**SPACE, "gan": dict(reversed(SPACE["gan"].items()))},
        {"gan": SPACE["gan"]},
    ):
        assert fingerprint(other) != fingerprint()


def test_the_list_is_seeded_by_turns_and_paired():
    chosen = random_subset(20, seed=3)
    assert [setting.family for setting in chosen[:3]] == ["gan", "ebgan", "ebgan-pt"]
    assert len(set(chosen)) == 60
    assert random_subset(5, seed=3) == chosen[:15]
    assert random_subset(20, seed=4) != chosen
    assert [setting[1:] for setting in chosen[1::3]] == [setting[1:] for setting in chosen[2::3]]
    assert len(random_subset(10_000, seed=0)) == 6144 + 2 * 512


@pytest.mark.slow
def test_two_processes_share_a_study_without_loss_or_doubling(tmp_path):
    journal, notes = tmp_path / "study.journal", [tmp_path / "one", tmp_path / "two"]
    together = FORK.Barrier(2)
    workers = [process(worker, journal, file, together) for file in notes]
    for one in workers:
        one.join(60)
        assert one.exitcode == 0
    assert all(noted(file) for file in notes)  # both had a share
    assert sorted(noted(*notes)) == sorted(PLAN.settings())  # each once, none twice
    results = Study(journal, PLAN).results()
    assert [result["place"] for result in results] == list(range(24))
    assert [result["score"] for result in results] == [found(setting)["score"] for setting in PLAN.settings()]


def test_a_killed_workers_trial_is_taken_up_again(tmp_path):
    journal, notes = tmp_path / "study.journal", tmp_path / "notes"

    def dies() -> None:
        def objective(setting: Setting) -> dict:
            if len(noted(notes)) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return noting(notes)(setting)

        work(Study(journal, PLAN), objective, beat=BEAT)

    killed = process(dies)
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    study, said = Study(journal, PLAN), []
    assert len(study.results()) == 3
    assert len(study.running()) == 1
    assert work(study, noting(notes), beat=BEAT, log=said.append) == 21
    assert sorted(noted(notes)) == sorted(PLAN.settings())
    assert len(study.results()) == 24
    assert not study.running()
    assert sum("queued anew" in line for line in said) == 1


@pytest.mark.slow
def test_a_slow_worker_that_beats_keeps_its_trial(tmp_path):
    journal, notes = tmp_path / "study.journal", [tmp_path / "slow", tmp_path / "waiting"]
    plan = Plan("slow", 1, 0, {})
    beat = 0.2
    slow = process(lambda: work(Study(journal, plan), noting(notes[0], 1.5 * SILENT_BEATS * beat), limit=0.001, beat=beat))
    while not notes[0].exists():
        time.sleep(0.01)
    assert work(Study(journal, plan), noting(notes[1]), beat=beat) == 2
    slow.join(60)
    assert sorted(noted(*notes)) == sorted(plan.settings())


def test_what_a_robbed_worker_brings_late_is_not_counted_twice(tmp_path):
    study = Study(tmp_path / "study.journal", PLAN)
    trial, _ = study.take()
    study.give_back(trial)
    assert not study.finish(trial, {"score": 99.0})
    assert work(study, found) == 24
    assert {result["score"] for result in study.results()} <= {found(one)["score"] for one in PLAN.settings()}


@pytest.mark.slow
def test_an_interrupted_study_goes_on(tmp_path):
    journal, notes = tmp_path / "study.journal", tmp_path / "notes"

    def interrupted(setting: Setting) -> dict:
        if len(noted(notes)) == 5:
            raise KeyboardInterrupt
        return noting(notes)(setting)

    with pytest.raises(KeyboardInterrupt):
        work(Study(journal, PLAN), interrupted, beat=BEAT)
    study = Study(journal, PLAN)
    assert len(study.results()) == 5
    assert not study.running()  # given back at once: nobody need wait for silence
    assert work(study, noting(notes), limit=0.0) == 0
    assert work(study, noting(notes)) == 19
    assert sorted(noted(notes)) == sorted(PLAN.settings())
    assert work(Study(journal, PLAN), noting(notes)) == 0


def test_what_a_process_left_unqueued_is_queued(tmp_path):
    journal = tmp_path / "study.journal"
    Study(journal, PLAN)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-10]))  # killed while it filled the queue
    study = Study(journal, PLAN)
    assert work(study, found) == 24


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (PLAN._replace(space={**SPACE, "gan": {**SPACE["gan"], "rate": (0.01, 0.001)}}), "search space"),
        (PLAN._replace(per_family=9), "trials a family"),
        (PLAN._replace(seed=1), "seed"),
        (PLAN._replace(conditions={"batches": 8}), "batches"),
        (PLAN._replace(conditions={"batches": 7, "classifier": "x"}), "classifier"),
    ],
)
@pytest.mark.slow
def test_another_study_under_the_same_name_is_refused_not_mixed(tmp_path, other, named):
    journal = tmp_path / "study.journal"
    work(Study(journal, PLAN), found)
    before = journal.read_text()
    with pytest.raises(InputError, match=f"study 'grid' has another {named} .*: give this one another name") as refused:
        Study(journal, other)
    assert "\n" not in str(refused.value)
    assert journal.read_text() == before
    assert work(Study(journal, other._replace(name="other")), found, limit=0.0) == 0  # other names do not conflict
    assert len(Study(journal, PLAN).results()) == 24


@pytest.mark.slow
def test_a_line_that_was_cut_short_is_lost_alone(tmp_path):
    """A full disk in the middle of a line: Optuna would write the next line to its end, and read no line from there on."""
    journal = tmp_path / "study.journal"
    assert work(Study(journal, PLAN), found, limit=0.0) == 0
    study = Study(journal, PLAN)
    trial, setting = study.take()
    assert study.finish(trial, found(setting))
    whole = journal.read_bytes()
    for cut in (1, 20):  # the last line is that the trial is done
        journal.write_bytes(whole[:-cut])
        assert work(Study(journal, PLAN), found, beat=BEAT) == 24
        assert sorted(Study(journal, PLAN).results(), key=str) == sorted(
            [{"place": place, **one._asdict(), **found(one)} for place, one in enumerate(PLAN.settings())], key=str
        )


def test_a_storage_that_is_no_journal_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder; name a file"):
        Study(tmp_path, PLAN)
    for content in ("no journal\nat all\n", "no journal\nat all", '{"a": 1}\n'):
        (tmp_path / "text").write_text(content)
        with pytest.raises(InputError, match="is no readable journal"):
            Study(tmp_path / "text", PLAN)
        assert (tmp_path / "text").read_text() == content


def test_a_study_can_be_read_without_its_plan(tmp_path):
    journal = tmp_path / "study.journal"
    study = Study(journal, PLAN)
    trial, setting = study.take()
    study.finish(trial, found(setting))
    stored = read_study(journal, "grid")
    assert stored.identity == PLAN.identity()
    assert stored.queued == 24
    assert stored.results == [{"place": 0, **setting._asdict(), **found(setting)}]
    with pytest.raises(InputError, match="study must be one of grid; got 'other'"):
        read_study(journal, "other")
    with pytest.raises(InputError, match="is no file"):
        read_study(tmp_path / "nothing", "grid")
