"""The campaign of `benchmarks/attack.py` in a bounded form: hostile calls, and no other visitor waits for them."""

import sys
import time
from pathlib import Path

import pytest
from serving import seconds_until, served_tiny, workers

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import attack
from crowd import Crowd, looking

CALLS, SECONDS = 600, 60


@pytest.mark.slow
def test_hostile_calls_get_sentences_and_bystanders_do_not_wait(tmp_path, capfd):
    with served_tiny(tmp_path) as address:
        attacker = attack.Attacker(address)
        until = time.monotonic() + SECONDS
        with looking(address) as looks:
            made = 0
            while made < CALLS and time.monotonic() < until:
                attacker.call()
                made += 1
        assert attacker.opaque == []
        assert made > 100
        assert attacker.seen["answered by events"] > made / 20
        assert len(looks) > 10
        assert sorted(looks)[int(0.95 * len(looks))] < 1  # in one process with the attacker
        found = Crowd(address, "tiny").come(12)
        assert found["failed_looks"] == {}
        assert found["runs_done"] == 12
        assert seconds_until(lambda: workers() == 0, 30) < 30
    assert "Traceback (most recent call last)" not in capfd.readouterr().err
