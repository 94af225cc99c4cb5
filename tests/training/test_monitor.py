"""The training monitor: each fault is found in a log that has it and in no other; logs cut short are read; curves are drawn."""

import json
import re

import pytest

from ebm_refine.cli.commands import main
from ebm_refine.errors import InputError
from ebm_refine.training.common.monitor import draw, findings, read_log


def energies(gap, steps: int = 20) -> list[dict]:
    return [{"step": 50 * k, "energy_data": -gap(k) / 2, "energy_chains": gap(k) / 2} for k in range(1, steps + 1)]


def pair(loss_d: float, distances: list[float]) -> list[dict]:
    return [{"step": 500 * (k + 1), "loss_d": loss_d, "holdout_distance": d} for k, d in enumerate(distances)]


def chains(**measured: float) -> list[dict]:
    healthy = {"short_chains_distance": 0.1, "long_chains_distance": 0.11, "classes": 10, "largest_class_share": 0.15}
    return [{"step": 1000, **healthy, **measured}]


HEALTHY = [energies(lambda k: 1.0), pair(1.0, [9, 7, 5, 4, 3.5]), pair(1.38, [9, 7, 5, 4, 3.5]), chains(),
           chains(long_chains_distance=0.4, long_chains_error=0.11)]  # fmt: skip
FAULTY = [
    (energies(lambda k: 0.5 * 1.3**k), "gap between the energies", "alpha"),
    (pair(0.05, [9, 8, 8, 8, 8]), "D wins: its loss was 0.05", "augment"),
    (pair(1.38, [9, 9.5, 9.2, 9, 9.3]), r"D is at chance \(its loss was 1.38", "Raise D's learning rate"),
    (pair(2.06, [39.1, 39.9]), "D is at chance", "spectral norms"),
    (pair(1.0, [9, 5, 4, 5, 6]), "past its best: holdout distance 4 at step 1500, 6 now", "best state ships"),
    (
        chains(long_chains_distance=0.4, long_chains_error=0.09),
        "Long chains are worse .* 0.4 against 0.1 at step 1000",
        "chains of training longer",
    ),
    (chains(largest_class_share=0.6), "60% of the samples are of one", "anew from noise"),
    (chains(classes=5), "5 classes are there", "anew from noise"),
    ([{"step": 4, "stopped": "stopped at step 5: energy data is nan"}], "energy data is nan", "Halve"),
]


@pytest.mark.parametrize("records", HEALTHY)
def test_a_healthy_log_is_left_alone(records):
    assert findings(records) == []


@pytest.mark.parametrize(("records", "problem", "remedy"), FAULTY)
def test_each_fault_is_found_alone_and_its_remedy_named(records, problem, remedy):
    (found,) = findings(records)
    assert re.search(problem, found.problem)
    assert remedy in found.remedy


def test_the_gap_is_dated_where_it_crossed_its_bound():
    found = findings(energies(lambda k: 1.0 if k <= 12 else 10.0))
    assert "since step 650" in found[0].problem


def test_a_log_that_is_being_written_is_read_up_to_its_last_whole_line(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss_d": 1.0}\n{"step": 2, "lo')
    assert read_log(tmp_path) == [{"step": 1, "loss_d": 1.0}]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "holds no training run"),
        ("{}\nnot\n{}\n", "line 2 of .* is not JSON"),
        ("[1]\n", "line 1 of .* no[t]? a JSON object"),
    ],
)
def test_what_is_no_log_is_said(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_log(tmp_path)


def test_the_picture_has_a_curve_a_number_whose_ends_are_its_lowest_and_highest(tmp_path):
    records = [
        {"step": s, "loss_d": v, "phase": "gan", "logit_real": float("nan")} for s, v in ((10, 3.0), (20, 1.0), (30, 2.0))
    ]
    draw(json.loads(json.dumps(records)), tmp_path / "m.svg", "a <run>")
    picture = (tmp_path / "m.svg").read_text()
    assert picture.count("<polyline") == 1
    (points,) = re.findall(r'points="([^"]+)"', picture)
    (x0, y0), (x1, y1), (x2, y2) = [tuple(map(float, p.split(","))) for p in points.split()]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y2 == pytest.approx((y0 + y1) / 2, abs=0.2)
    assert y0 < y1
    assert "a &lt;run&gt;" in picture
    assert "1 to 3, now 2" in picture


def test_whatever_number_is_logged_is_drawn(tmp_path):
    draw([{"step": s, "phase": "ratio", "some_number": v} for s, v in ((1, 3.0), (2, 1.0))], tmp_path / "m.svg", "run")
    assert re.findall(r">(some number|step|phase)<", (tmp_path / "m.svg").read_text()) == ["some number"]


def test_the_command_says_what_is_wrong_and_draws(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(record) + "\n" for record in pair(0.05, [9, 8, 8, 8, 8])))
    assert main(["monitor", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "D wins" in printed
    assert "<svg" in (tmp_path / "monitor.svg").read_text()
    log.write_text("".join(json.dumps(record) + "\n" for record in HEALTHY[1]))
    assert main(["monitor", str(tmp_path), "--out", str(tmp_path / "curves.svg")]) == 0
    assert "nothing found wrong in 5 records" in capsys.readouterr().out
    log.write_text(json.dumps(HEALTHY[1][0]) + "\n")
    assert main(["monitor", str(tmp_path)]) == 0
    assert "too few records to find a fault: 1" in capsys.readouterr().out
    assert "no curve yet" in (tmp_path / "monitor.svg").read_text()
    assert main(["monitor", str(tmp_path / "absent")]) == 2
    assert "holds no training run" in capsys.readouterr().err
