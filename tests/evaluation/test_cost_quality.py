"""Cost and quality: the table and the picture say what the results say, and labels cover neither points nor each other."""

import importlib
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

SVG = "{http://www.w3.org/2000/svg}"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def row(method, milliseconds, change, verdict="open", peer=False, z=0.0, **settings):
    kinds = [{"kind": kind, "votes": kind != "classifier", "z": z} for kind in ("classifier", "contrastive", "pixels")]
    return {
        "peer": peer, "method": method, "settings": settings, "evaluations": 25.0, "milliseconds": milliseconds,
        "range": [milliseconds - 1, milliseconds + 1], "rows": kinds, "verdict": {"word": verdict, "median_gain": -change},
    }  # fmt: skip


@pytest.fixture
def results():
    return {
        "model": "m <1>", "panel": "p", "fingerprint": "f" * 64, "num_images": 1000, "seeds": [0, 1], "split": "test",
        "real_images": 5000, "peers": {"torchebm": "0.8.9"}, "machine": "2 x Processor", "threads": 1, "torch": "2.12",
        "rows": [
            row("langevin", 8.0, -0.2, eps=0.1, n_steps=24),
            row("langevin", 8.1, 0.3, "contradicted", eps=0.3, n_steps=24),
            row("mh-gan", 8.0, -0.5, "confirmed", z=-9.0, n_steps=49),
            row("obrs", 8.05, -0.49, "confirmed", z=-4.0, n_steps=50),
            row("i-sir", 7.95, -0.495, "confirmed", z=-4.0, n_steps=1, options={"particles": 50}),
            row("rejection", 8.02, -0.505, "confirmed", z=-4.0, n_steps=50),
            row("smc", 4.0, 7.8, "contradicted", n_steps=24),
            row("torchebm langevin", 16.0, -0.2, peer=True, eps=0.1, n_steps=24),
            row("best of 50", 7.9, -0.5, "confirmed"),
        ],
    }  # fmt: skip


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def circles(tree):
    return [(float(one.get("cx")), float(one.get("cy"))) for one in tree.iter(f"{SVG}circle")]


def labels(tree, names):
    """(text, left, right, baseline) of the labels, at 4.5 pixels a letter, less than letters are wide on average."""
    found = []
    for one in tree.iter(f"{SVG}text"):
        if one.text in names:
            width, x = 4.5 * len(one.text), float(one.get("x"))
            left = x - width if one.get("text-anchor") == "end" else x
            found.append((one.text, left, left + width, float(one.get("y"))))
    return found


def test_points_stand_at_their_logarithm_and_change(results, benchmarks):
    tree = ElementTree.fromstring(benchmarks("cost_picture").drawn(results))
    langevin, wide, mh_gan, *_, smc, _ = circles(tree)[:8]
    (peer,) = [one.get("d") for one in tree.iter(f"{SVG}path") if one.get("d").endswith("h8v8h-8z")]
    peer_x = float(re.match(r"M([\d.]+)", peer)[1]) + 4
    # 4, 8 and 16 ms: equal ratios are equal distances.
    assert langevin[0] - smc[0] == pytest.approx(peer_x - langevin[0], abs=0.15)
    # -20 %, +30 %, -50 %; rows of pixels count from above.
    assert (mh_gan[1] - langevin[1]) / (langevin[1] - wide[1]) == pytest.approx(0.3 / 0.5, abs=0.01)
    assert smc[1] == min(y for _, y in circles(tree))  # at the edge, with its number in the label
    assert "smc (+780%)" in [one.text for one in tree.iter(f"{SVG}text")]


def test_every_method_has_a_label_of_its_own_that_covers_nothing(results, benchmarks):
    picture = benchmarks("cost_picture")
    tree = ElementTree.fromstring(picture.drawn(results))
    names = {"langevin, eps 0.1", "langevin, eps 0.3", "mh-gan", "obrs", "i-sir", "rejection", "smc (+780%)",
             "torchebm langevin", "best of 50"}  # fmt: skip
    placed = labels(tree, names)
    assert {text for text, *_ in placed} == names
    for number, (_, left, right, y) in enumerate(placed):
        assert picture.BOX.left < left
        assert right < picture.BOX.left + picture.BOX.width
        assert all(not (left < x < right and y - 9 < cy < y + 2) for x, cy in circles(tree))
        for _, other_left, other_right, other_y in placed[number + 1 :]:
            assert other_y <= y - 11 or other_y >= y + 11 or other_left >= right or other_right <= left


def test_the_picture_is_described_in_words(results, benchmarks):
    tree = ElementTree.fromstring(benchmarks("cost_picture").drawn(results))
    assert tree.get("role") == "img"
    assert tree.find(f"{SVG}title").text.startswith("m <1>: median change")
    words = tree.find(f"{SVG}desc").text
    assert "mh-gan: 8.0 ms, -50%, confirmed." in words
    assert "torchebm langevin: 16.0 ms, -20%, open." in words
    shown = [one.text for one in tree.iter(f"{SVG}text")]
    assert {"confirmed", "open", "contradicted", "another library", "baseline without a chain"} <= set(shown)


def test_the_table_begins_with_the_greatest_gain(results, benchmarks):
    lines = benchmarks("cost_tables").cost_quality(results).splitlines()
    assert lines[2] == "| rejection | n_steps 50 | 25 | 8.0 | 7.0–9.0 | -50% | 2 of 2 | **confirmed** |"
    assert lines[10].startswith("| smc |")
    assert (
        "| torchebm langevin (other library) | eps 0.1, n_steps 24 | 25 | 16.0 | 15.0–17.0 | -20% | 0 of 2 | **open** |"
        in lines
    )
    assert "N = 1000, seeds 0, 1, 5000 test images, torchebm 0.8.9; 2 x Processor" in lines[-1]


def test_peers_run_the_same_energy_from_the_same_starts(benchmarks, monkeypatch):
    from ebm_refine import load
    from ebm_refine.energies.targets import target_of

    script = benchmarks("cost_quality")
    seen = {}

    def chains(energy, eps, device):
        def chain(z, n_steps):
            seen.update(z=z, energy=energy(z), given=(eps, n_steps))
            return z + 1

        return {"torchebm": chain}

    monkeypatch.setattr(script, "chains", chains)
    checkpoint = load("mnist-gan")
    part = script.peer_images(checkpoint, "torchebm", 0.1, 24, seed=3, count=5)
    target = target_of(checkpoint, "refitted")
    start = target.init(3, torch.arange(5))
    assert seen["given"] == (0.1, 24)
    assert torch.equal(seen["z"], start)
    torch.testing.assert_close(seen["energy"].detach(), target.energy(start), rtol=1e-3, atol=1e-3)
    assert part["evaluations"] == 24
    close = (part["after"].int() - target.decode(start + 1).int()).abs()
    assert int(close.max()) <= 1  # other kernels of convolution round differently
