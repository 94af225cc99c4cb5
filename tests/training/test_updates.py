"""The one resumable loop: which updates are left, what travels with them, and that a cut run is the whole one to the bit."""

import torch
from torch import nn

from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.updates import Updates


def trained(folder, until: int, resume: bool = False) -> tuple[nn.Linear, Updates, list[int]]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 1)
    adam = torch.optim.Adam(layer.parameters(), lr=0.1)
    updates = Updates(Run(folder, resume=resume), {"layer": layer, "adam": adam}, 10, "test", told=torch.zeros(1), best=None)
    made = []
    for step in updates:
        if step == until:
            break
        loss = layer(torch.randn(4, 3)).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        made.append(step)
        updates.kept["told"] = updates.kept["told"].lerp(loss.detach()[None], 0.5)
        if updates.due(step + 1, 4):
            updates.kept["best"] = {"step": step + 1}
            updates.save(step + 1)
    return layer, updates, made


def test_a_cut_loop_goes_on_to_the_same_bits(tmp_path):
    whole, full, _ = trained(tmp_path / "whole", 99)
    _, _, first = trained(tmp_path / "cut", 7)
    torch.manual_seed(99)
    cut, rest, second = trained(tmp_path / "cut", 99, resume=True)
    assert (first, second, rest.first) == (list(range(7)), list(range(4, 10)), 4)
    assert torch.equal(whole.weight, cut.weight)
    assert torch.equal(full.kept["told"], rest.kept["told"])
    assert full.kept["best"] == rest.kept["best"] == {"step": 10}
    assert [done for done in range(1, 11) if full.due(done, 4)] == [4, 8, 10]


def test_a_finished_loop_has_nothing_left(tmp_path):
    whole, _, _ = trained(tmp_path, 99)
    again, updates, made = trained(tmp_path, 99, resume=True)
    assert made == []
    assert updates.first == 10
    assert torch.equal(whole.weight, again.weight)
