"""The one resumable loop: which updates are left, what travels with them, and that a cut run is the whole one to the bit."""

import pytest
import torch
from torch import nn

from ebm_refine.errors import InputError
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.updates import Updates, Watched


def trained(folder, until: int, resume: bool = False) -> tuple[nn.Linear, Updates, list[int]]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    adam = torch.optim.Adam(layer.parameters(), lr=0.1)
    networks = {"layer": layer, "adam": adam}
    updates = Updates(Run(folder, resume=resume), networks, 10, "test", smoothed=torch.zeros(1), best=None)
    made = []
    for step in updates:
        if step == until:
            break
        loss = layer(torch.randn(4, 3)).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        made.append(step)
        updates.extra["smoothed"] = updates.extra["smoothed"].lerp(loss.detach()[None], 0.5)
        if updates.due(step + 1, 4):
            updates.extra["best"] = {"step": step + 1}
            updates.save(step + 1)
    return layer, updates, made


def test_a_cut_loop_goes_on_to_the_same_bits(tmp_path):
    whole, full, _ = trained(tmp_path / "whole", 99)
    _, _, first = trained(tmp_path / "cut", 7)
    torch.manual_seed(99)
    cut, rest, second = trained(tmp_path / "cut", 99, resume=True)
    assert (first, second, rest.first) == (list(range(7)), list(range(4, 10)), 4)
    assert torch.equal(whole.weight, cut.weight)
    assert torch.equal(full.extra["smoothed"], rest.extra["smoothed"])
    assert full.extra["best"] == rest.extra["best"] == {"step": 10}
    assert [done for done in range(1, 11) if full.due(done, 4)] == [4, 8, 10]


def test_a_finished_loop_has_nothing_left(tmp_path):
    whole, _, _ = trained(tmp_path, 99)
    again, updates, made = trained(tmp_path, 99, resume=True)
    assert made == []
    assert updates.first == 10
    assert torch.equal(whole.weight, again.weight)


class Counter:
    """A part whose state is how many updates it has seen."""

    count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


def watched(run: Run | None, bad_from: int = 99, **extra) -> tuple[Watched, Counter]:
    """Seven updates, of which every third is reported and every second reported one saved; from `bad_from` on they diverge."""
    counter = Counter()

    def update(step: int) -> dict[str, torch.Tensor]:
        counter.count += 1
        return {"seen": torch.tensor(float(step))}

    def trouble(numbers: dict[str, float]) -> str:
        return "it is too late" if numbers["seen"] >= bad_from else ""

    updates = Updates(run, {"counter": counter}, 7, "test", **extra)
    return Watched(updates, 3, update, trouble, save_every=6), counter


def test_a_watched_loop_tells_saves_and_goes_on(tmp_path):
    loop, counter = watched(Run(tmp_path, resume=False), best=0)
    for progress in loop:
        loop.extra["best"] = progress.step
        if progress.step == 7:
            break  # killed before the last report is saved
    assert counter.count == 7
    rest, again = watched(Run(tmp_path, resume=True), best=0)
    assert (rest.updates.first, rest.extra, again.count) == (6, {"best": 6}, 6)
    assert [(progress.step, progress.numbers) for progress in rest] == [(7, {"seen": 6.0})]
    assert [progress.step for progress in watched(None)[0]] == [3, 6, 7]


def test_a_diverging_loop_is_put_back_and_saved_as_it_last_was_good(tmp_path):
    loop, counter = watched(Run(tmp_path, resume=False), bad_from=4)
    reports = list(loop)
    assert [progress.step for progress in reports] == [3, 3]
    assert reports[-1].stopped == "stopped at step 5: it is too late; the state of step 3 is restored"
    assert counter.count == reports[-1].state["counter"]["count"] == 3
    again, _ = watched(Run(tmp_path, resume=True), bad_from=4)
    assert [progress.stopped for progress in again] == [reports[-1].stopped]


def test_a_state_of_another_version_is_refused_in_one_sentence(tmp_path):
    Run(tmp_path, resume=False).save({"loop": {}, "best": None})
    with pytest.raises(InputError, match=r"without 'counter', of another version .* remove it to begin anew"):
        watched(Run(tmp_path, resume=True))
