"""Golden chains: what every sampler gave for one seed, pinned across commits.

`PYTHONPATH=.:tests python tests/samplers/test_golden.py` adds the chains of new methods. Where a change is meant, give
it the methods' names, and say so in the commit. Positions are equal on all platforms to rounding, but for ties in acceptance;
`flex2mcmc` learns its proposal, so it is left out.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_targets

from ebm_refine.samplers import METHODS
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.pilot import Pilot

FILE = Path(__file__).with_name("golden_chains.json")
PINNED = [name for name in METHODS if name != "flex2mcmc"]


def golden(method: str) -> dict[str, Any]:
    target = (
        toy_targets.bits()
        if method == "gibbs"
        else toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK, chunk=64)
    )
    values = {row.name: row.default for row in METHODS[method].parameters} | {"n_steps": 5}
    if values.get("eps", 1.0) is None:
        values["eps"] = 0.7
    kernel, index = METHODS[method].build(target, values, Pilot(target, 11)), torch.arange(4)
    *_, last = run(kernel, target.init(11, index), 11, index, 5)
    return {"position": last.state.position.tolist(), "energy": last.state.energy.tolist()}


@pytest.mark.parametrize("method", PINNED)
def test_golden_chain(method: str) -> None:
    pinned, now = json.loads(FILE.read_text())[method], golden(method)
    for name in ("position", "energy"):
        torch.testing.assert_close(torch.tensor(now[name]), torch.tensor(pinned[name]), rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    torch.set_num_threads(1)
    pinned = {method: chain for method, chain in json.loads(FILE.read_text()).items() if method not in sys.argv[1:]}
    FILE.write_text(json.dumps({method: pinned.get(method) or golden(method) for method in PINNED}, indent=1) + "\n")
