"""The panel's part of a model card: for a pair the verdicts, for a panel which kinds may vote."""

from collections.abc import Iterable
from typing import Any


def evidence(judged: dict[str, Any] | None) -> list[str]:
    """The verdicts on a model's methods: confirmed, open or contradicted, one row each."""
    if not judged:
        return []
    rows = [[row["method"], row["setting"], f"**{row['word']}**", row["reason"]] for row in judged["rows"]]
    return [
        "## Is it better?",
        "",
        f"What encoders of several kinds say (`{judged['panel']}`, {str(judged['fingerprint'])[:12]}; docs/evidence.md) of "
        f"{judged['num_images']} images against {judged['real_images']} {judged['split']} images:",
        "",
        *table(["method", "setting", "verdict", "because"], rows),
    ]


def chosen(entries: list[dict[str, Any]] | None) -> list[str]:
    """How the defaults were chosen by a panel: of each budget the best methods on held-out images, and the best baseline."""
    if not entries:
        return []
    first = entries[0]
    rows = [
        [f"{entry['budget']:g}", row["method"], row["ratio"], row["setting"], f"{row['evaluations']:.3g}", f"**{row['word']}**",
         f"{-row['median_gain']:+.0%}" if row["median_gain"] is not None else "–"]
        for entry in entries
        for row in entry["rows"]
    ]  # fmt: skip
    return [
        "## How the default was chosen",
        "",
        f"By the voting kinds of `{first['panel']}` ({str(first['fingerprint'])[:12]}) on {first['split']} images, every "
        f"method at equal cost, N = {first['num_images']}: confirmed before open before contradicted, then by the median "
        "change of the voting kinds' distances. Of each budget the best three methods and the best of the baselines (best of n "
        "draws by r, the prior truncated).",
        "",
        *table(["budget", "method", "ratio", "setting", "evaluations", "verdict", "median change"], rows),
    ]


def rights(config: dict[str, Any]) -> list[str]:
    """Which kinds of a panel may vote, and of each test how far apart the ends of its series lie."""
    found, tested = config.get("rights"), config.get("rights_tested", {})
    if not found:
        return []
    tests = list(dict.fromkeys(test for result in found.values() for test in result["tests"]))
    rows = [
        [kind, "yes" if result["votes"] else "no", *(_outcome(result["tests"].get(test, {})) for test in tests)]
        for kind, result in found.items()
    ]
    return [
        "## Who may vote",
        "",
        f"On {tested.get('images')} and {tested.get('images')} real images ({tested.get('split')}) and samples of "
        f"`{tested.get('base')}`; dropped: {tested.get('classes')}. In standard errors: how far a series goes from end to end, "
        "or how far a distance is from 0; * where the test was failed.",
        "",
        *table(["kind", "votes", *tests], rows),
    ]


def _outcome(test: dict[str, Any]) -> str:
    errors = test["ends"] if "ends" in test else test["value"] / test["error"] if test.get("error") else None
    return "–" if errors is None else f"{errors:.1f}{'' if test['passed'] else ' *'}"


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """The lines of a Markdown table; cells may hold anything, bars and line breaks too."""

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *map(line, rows)]
