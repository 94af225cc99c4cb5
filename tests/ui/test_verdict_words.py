"""The sentence of a verdict: what it advises, and where there can be none."""

from types import SimpleNamespace
from typing import Any, cast

from ebm_refine.ui.runtime import limits
from ebm_refine.ui.tabs.refine.chain_panel import accepted_frame
from ebm_refine.ui.tabs.refine.evidence import Evidence, as_html
from ebm_refine.ui.tabs.refine.job import Record
from ebm_refine.ui.tabs.refine.metrics_panel import RECORDED, verdict, who_says


def metrics(word: str = "same", images: int = 64, label: int | None = None) -> dict[str, Any]:
    return {"num_images": images, "kernel_distance": {}, "verdict": {"word": word}, "settings": {"label": label}}


def test_more_images_are_advised_only_where_there_may_be_more():
    assert verdict(metrics())[1].endswith("see Advanced.")
    assert verdict(metrics(images=limits.MAX_IMAGES))[1].endswith("draws no more at once.")
    assert verdict(metrics(), recorded=True)[1].endswith(RECORDED)


def test_one_class_is_not_judged_by_images_of_all_classes():
    assert verdict(metrics("worse"))[0] == "worse"
    kind, sentence = verdict(metrics("worse", label=3))
    assert kind == "unknown"
    assert "all classes" in sentence


def test_an_error_larger_than_the_distance_is_no_figure():
    kind = {"kind": "contrastive", "before": 0.01, "change": -0.0128, "error": 0.0496}
    assert "cannot tell from so few" in who_says({"verdict": {"kinds": [kind]}})
    assert "%" not in who_says({"verdict": {"kinds": [kind]}})
    assert "cannot tell" in who_says({"verdict": {"kinds": [{**kind, "before": -0.001, "error": 0.0005}]}})
    assert "−49\u00a0% ± 16\u00a0%" in who_says({"verdict": {"kinds": [{**kind, "change": -0.0049, "error": 0.0016}]}})


def test_a_recorded_change_within_its_error_is_no_gain():
    found = Evidence(1.5, 1.2, 0.2, None, 1000, 3, "features", "test", False)
    assert "no clear change of this distance (−20\u00a0% ± 27\u00a0%)" in as_html(found)
    assert "20\u00a0% ± 13\u00a0% closer to real images" in as_html(found._replace(error=0.1))
    assert "20\u00a0% further from real images" in as_html(found._replace(after=1.8, error=None))


def test_the_share_accepted_is_drawn_where_a_proposal_was_rejected():
    record = SimpleNamespace(steps=[0, 1, 2], accepted=[float("nan"), 1.0, 1.0])
    assert accepted_frame(cast(Record, record)) is None
    record.accepted[2] = 0.5
    assert accepted_frame(cast(Record, record))["share accepted"].tolist() == [1.0, 0.5]
