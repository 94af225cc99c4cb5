"""Whether longer chains help: the recorded curves of a model, folded away below a verdict, fetched when they are opened."""

import html
import json
from functools import cache
from typing import Any

from ebm_refine.evaluation.curves import curves_in_words, drawn_curves
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.ui.runtime.pictures import SHELF


def curves_html(model: str) -> str:
    """A fold with the picture and its words; nothing for a model without recorded curves."""
    results = _recorded().get(model)
    if results is None:
        return ""
    words = html.escape(
        f"{curves_in_words(results)} Of {results['num_images']:,} images against {results['real_images']:,} test images, by "
        "encoders of several kinds; bars are one standard error."
    )
    address = SHELF.put(drawn_curves(results).encode(), "svg")
    return (
        "<details class='curves'><summary>Do longer chains help? Measured once, on more images</summary>"
        f"<img src='{address}' loading='lazy' style='width:100%' alt='Distances and mean log ratio against evaluations'>"
        f"<p class='small'>{words}</p></details>"
    )


@cache
def _recorded() -> dict[str, dict[str, Any]]:
    """Curves by the name of their model."""
    files = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*-curves.json"))]
    return {results["model"]: results for results in files}
