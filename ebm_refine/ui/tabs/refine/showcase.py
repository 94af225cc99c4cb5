"""Results that ship with the page and open at once: one fixed seed each. `benchmarks/showcase.py` makes them."""

import html
import json
from functools import cache
from typing import Any, NamedTuple

from ebm_refine.models.kinds import is_points, law_of
from ebm_refine.render import Layout
from ebm_refine.settings import Settings, resolve
from ebm_refine.ui.components.stage import Shown, Strip, view
from ebm_refine.ui.runtime.pictures import ASSETS, asset
from ebm_refine.ui.tabs.refine import share_link
from ebm_refine.ui.tabs.refine.job import refinable_models
from ebm_refine.ui.tabs.refine.results import BEFORE, verdict_of

FILE = "showcase.json"
_TEMPLATE = '<div class="cards" role="group" aria-label="Results to look at">{}</div>'
SCRIPT = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('button');
  if (card) trigger('select', {index: card.dataset.key});
});
"""


class Card(NamedTuple):
    """One result: what it is called, its settings, and what the page shows of it."""

    key: str
    title: str
    settings: Settings
    metrics: dict[str, Any]
    stage: str
    picture: str
    points: bool

    @property
    def query(self) -> str:
        return share_link.query_of(self.settings)

    @property
    def status(self) -> str:
        settings = self.settings
        noun, shown = ("points", "All are shown") if self.points else ("images", "The first of them are shown")
        return (
            f"A finished run: {settings.num_images} {noun} of {settings.model}, {settings.method}, N = {settings.n_steps}, "
            f"seed {settings.seed}. {shown}; nothing was picked by hand."
        )

    @property
    def verdict(self) -> str:
        more = "<p><a class='button' href='play'>Move these points yourself</a></p>" if self.points else ""
        return verdict_of(self.settings, self.metrics, more)

    def shown(self) -> dict[str, str]:
        """What stands in status line, verdict and stage."""
        return {"status": self.status, "verdict": self.verdict, "stage": self.stage}


def cards() -> dict[str, Card]:
    """The results whose models are embedded, by key; none where the file is absent."""
    models = refinable_models()
    return {entry["key"]: _card(entry, models[entry["model"]].config) for entry in _entries() if entry["model"] in models}


def card_of(settings: Settings) -> Card | None:
    """The result that ships with exactly these settings."""
    return next((card for card in cards().values() if card.settings.as_dict() == settings.as_dict()), None)


def as_html(more: str = "") -> str:
    """The cards as buttons, and `more` HTML beside them."""
    return _TEMPLATE.format(
        "".join(
            f'<button type="button" data-key="{card.key}"><img src="{card.picture}" alt="" width="56" height="56">'
            f"<span>{html.escape(card.title)}</span></button>"
            for card in cards().values()
        )
        + more
    )


@cache
def _entries() -> list[dict[str, Any]]:
    file = ASSETS / FILE
    return json.loads(file.read_text()) if file.is_file() else []


def _card(entry: dict[str, Any], config: dict[str, Any]) -> Card:
    settings, files = resolve(entry["model"], config, **entry["arguments"]), entry["files"]
    what = f"{settings.model}, {settings.method}, seed {settings.seed}"
    stage = view(
        Shown(asset(files["before"]), BEFORE[law_of(config)], f"Samples before refinement: {what}"),
        Shown(asset(files["after"]), "After", f"Samples after refinement: {what}"),
        Layout(**entry["layout"]) if entry["layout"] else None,
        Strip(asset(files["film"]), entry["film_steps"], f"Film of the chains: {what}"),
        "film",
        first=True,
    )
    return Card(
        entry["key"], entry["title"], settings, entry["metrics"], stage, asset(files["card"]), is_points(config)
    )  # fmt: skip
