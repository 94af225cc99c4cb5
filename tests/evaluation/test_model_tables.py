"""Tables of the models that ship: images seen and lengths follow from the training records."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from evidence_tables import kind_changes
from model_tables import images_seen, length, models_before, networks_of

BATCHES = {"steps": 30, "steps_run": 40, "unit": "batches of 64"}


@pytest.mark.parametrize(
    ("training", "seen"),
    [
        (BATCHES, "2,560"),
        ({"steps": 10, "epochs_run": 14, "unit": "epochs", "data": {"images": 100}}, "1,400"),
        ({**BATCHES, "begins_at": {"name": "a", "steps": 10, "unit": "batches of 32"}}, "2,560 + 320 of `a`"),
        ({**BATCHES, "generator began as": "b"}, "2,560 + those of `b`"),
        ({**BATCHES, "energy_alone": {"steps": 4, "unit": "batches of 8"}}, "2,560; 32"),
        ({"steps": 2000, "unit": "updates"}, None),
    ],
)
def test_images_seen_are_batches_times_their_size_or_epochs_times_the_data(training, seen):
    assert images_seen(training) == seen


def test_the_length_names_the_state_that_ships_where_it_is_not_the_last():
    assert length(BATCHES) == "40 batches of 64, 30 ship"
    assert length({"steps": 40, "unit": "batches of 64"}) == "40 batches of 64"


def test_parameters_are_counted_by_role():
    part = {"architecture": "mlp-generator", "arguments": {"latent": 2, "widths": [999], "shape": [1], "output": "linear"}}
    # 2 x 999 and 999 weights, and as many biases as there are units.
    assert networks_of({"parts": {"generator": part}}) == f"generator {(3 * 999 + 999 + 1) / 1000:,.1f}"


def panel(model: str, values: list[float], why: str = "") -> dict:
    kinds = [
        {"kind": f"kind {index}", "why": why if index == 0 else "", "before": {"value": value, "error": 0.3}}
        for index, value in enumerate(values)
    ]
    return {"model": model, "fingerprint": "f", "split": "test", "rows": [{"rows": kinds}]}


def test_errors_of_two_generators_add_and_a_kind_that_failed_has_no_vote():
    (_, _, _, first), (_, change, errors, votes) = kind_changes(panel("new", [1.0, 1.5]), panel("old", [1.0, 2.0], "failed it"))
    assert (first, votes, change) == (False, True, -0.25)
    assert errors == pytest.approx(-0.5 / (0.3 * 2**0.5))


def test_a_kind_that_failed_has_no_vote_where_the_ratios_of_both_see_it():
    seen = [panel(name, [1.0, 1.5], "the ratio sees it") for name in ("new", "old")]
    assert [votes for *_, votes in kind_changes(*seen)] == [True, True]
    seen[1]["rows"] += panel("old", [1.0, 1.5], "failed it")["rows"]  # a row without a ratio
    assert [votes for *_, votes in kind_changes(*seen)] == [False, True]


def test_figures_of_other_sizes_are_not_set_beside_each_other():
    measured = {"sha256": "a", "num_images": 1000, "seeds": [0]}
    old = {"digits": {**measured, "num_images": 500, "models": {}}, "points": {"models": {}}}
    with pytest.raises(ValueError, match="num_images"):
        models_before([old, measured, {"rows": []}, {}, {}, {}])


def test_new_weights_of_the_same_model_stand_beside_its_older_ones():
    measured = {"sha256": "a", "num_images": 1000, "seeds": [0], "extractor": "e", "models": {}}
    points = {"num_points": 10, "seeds": [0], "rows": []}
    older = panel("faces", [1.0, 1.0, 2.0])
    old = {"commit": "c", "date": "d", "digits": measured, "points": {**points, "models": {}}, "faces": older}
    text = models_before([old, measured, points, older, older, panel("faces", [0.9, 0.5, 1.4])])
    assert "| `faces` | generator alone on test images" in text
    assert "| -30% (kinds -50% to -10%) |" in text
