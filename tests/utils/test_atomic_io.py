"""Files, folders and sets of files under a process that dies at any moment: old or new, never a mixture, never half."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ebm_refine.utils import atomic_io
from ebm_refine.utils.atomic_io import replacing, replacing_folder, replacing_set

NAMES = ("a.bin", "b.bin", "last.json")
CALLS = ("replace", "fsync", "unlink")


def dies_at(moment: int, before: bool, work: Callable[[], None]) -> bool:
    """Do `work` in a process that is killed before or after its call number `moment` of rename, flush or remove.

    True where it came to its end. Nothing is cleaned up in a killed process, as with SIGKILL.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    count = 0

    def deadly(original: Callable) -> Callable:
        def call(*arguments, **options):
            nonlocal count
            mine, count = count, count + 1
            if before and mine == moment:
                os._exit(9)
            result = original(*arguments, **options)
            if not before and mine == moment:
                os._exit(9)
            return result

        return call

    for name in CALLS:
        setattr(atomic_io.os, name, deadly(getattr(os, name)))
    if atomic_io._exchange is not no_exchange:
        atomic_io._exchange = deadly(atomic_io._exchange)
    try:
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


def no_exchange(one: Path, other: Path) -> bool:
    return False


def write_set(folder: Path, content: str) -> None:
    with replacing_set(folder, NAMES) as temporary:
        for name in NAMES:
            (temporary / name).write_text(content)


def contents(folder: Path) -> list[str | None]:
    return [(folder / name).read_text() if (folder / name).exists() else None for name in NAMES]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.slow
def test_a_set_is_old_or_new_wherever_its_process_dies(tmp_path, before, others):
    for moment in range(100):
        folder = tmp_path / str(moment)
        write_set(folder, "old")
        if others:
            (folder / "mine.txt").write_text("of the user")
        done = dies_at(moment, before, lambda folder=folder: write_set(folder, "new"))
        found = contents(folder)
        assert len(set(found) - {None}) <= 1, found
        if not others:
            assert found in (["old"] * 3, ["new"] * 3)
        if found[-1] is not None:
            assert None not in found  # the last one says that all are there
        assert not others or (folder / "mine.txt").read_text() == "of the user"
        if done:
            assert found == ["new"] * 3
            break
    else:
        pytest.fail("it never came to its end")
    assert moment > 5


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.slow
def test_a_new_set_is_there_whole_or_not_at_all(tmp_path, before):
    for moment in range(100):
        folder = tmp_path / str(moment) / "out"
        done = dies_at(moment, before, lambda folder=folder: write_set(folder, "new"))
        assert contents(folder) in ([None] * 3, ["new"] * 3)
        if done:
            return
    pytest.fail("it never came to its end")


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.slow
def test_the_next_write_removes_what_killed_ones_left(tmp_path, before):
    """Each process that is killed has a name of its own; those of living ones and of other machines stay."""

    def write() -> None:
        write_set(tmp_path / "set", "new")
        with replacing(tmp_path / "file") as temporary:
            temporary.write_text("new")

    host = atomic_io.platform.node()
    others = {f".file.{host}.{os.getppid()}.part", ".file.elsewhere.1.part", f".file.{host}.notes.part"}
    for name in others:
        (tmp_path / name).write_text("another's")
    left = 0
    for moment in range(100):
        done = dies_at(moment, before, write)
        left += len(set(os.listdir(tmp_path)) - others - {"set", "file"})
        if done:
            break
    assert left > 5
    assert set(os.listdir(tmp_path)) == others | {"set", "file"}


def test_a_set_in_the_working_folder_stays_there(tmp_path, monkeypatch):
    """A swapped folder would leave the shell in a removed one."""
    write_set(tmp_path / "out", "old")
    monkeypatch.chdir(tmp_path / "out")
    write_set(Path("."), "new")
    assert sorted(os.listdir(".")) == sorted(NAMES)
    assert contents(Path(".")) == ["new"] * 3


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.slow
def test_a_file_is_old_or_new_wherever_its_process_dies(tmp_path, before):
    def write(file: Path, content: str) -> None:
        with replacing(file) as temporary:
            temporary.write_text(content)

    file = tmp_path / "file"
    write(file, "old")
    for moment in range(20):
        done = dies_at(moment, before, lambda: write(file, "new"))
        assert file.read_text() in ("old", "new")
        if done:
            break
    assert file.read_text() == "new"


def test_what_is_renamed_is_on_the_disk_before_and_its_folder_after(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (order.append(os.readlink(f"/proc/self/fd/{descriptor}")), fsync(descriptor))
    )
    monkeypatch.setattr(os, "replace", lambda one, other: (order.append("rename"), replace(one, other)))
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("content")
        name = str(temporary)
    assert order == [name, "rename", str(tmp_path)]


@pytest.mark.parametrize("exchange", [atomic_io._exchange, no_exchange])
def test_a_folder_is_replaced_whole_with_and_without_an_exchange(tmp_path, monkeypatch, exchange):
    monkeypatch.setattr(atomic_io, "_exchange", exchange)
    for content in ("old", "new"):
        with replacing_folder(tmp_path / "folder") as temporary:
            (temporary / content).write_text(content)
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == ["new"]


def test_what_fails_leaves_the_old_folder_and_nothing_else(tmp_path):
    write_set(tmp_path / "out", "old")

    def fill_the_disk() -> None:
        with replacing_set(tmp_path / "out", NAMES) as temporary:
            (temporary / "a.bin").write_text("new")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill_the_disk()
    assert contents(tmp_path / "out") == ["old"] * 3
    assert os.listdir(tmp_path) == ["out"]
