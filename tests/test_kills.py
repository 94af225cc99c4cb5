"""`benchmarks/kills.py` in a bounded form: whole commands killed at random moments and at calls that write, then resumed."""

import random
import sys
from pathlib import Path

import pytest

pytest.importorskip("optuna")
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import kills
from killed_commands import COMMANDS

AT_CALLS = 6  # of all that `kills.py --every` tries


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_killed_command_leaves_nothing_half_written_and_ends_like_one_that_was_not(tmp_path, command):
    source = random.Random(command)
    with kills.killer(command, tmp_path) as killer:
        for moments in kills.random_moments(4, killer.seconds, source):
            killer.killed_after(moments)
        deaths = kills.every_death(killer.calls)
        assert deaths, "it makes no call that writes"
        for death in source.sample(deaths, min(len(deaths), AT_CALLS)):
            killer.killed_at([death])
