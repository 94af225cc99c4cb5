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
        f"Verdicts of the panel of encoders `{judged['panel']}` ({str(judged['fingerprint'])[:12]}; docs/evidence.md has the "
        f"rule) on {judged['num_images']} images, compared with {judged['real_images']} {judged['split']} images:",
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
        "change of the voting kinds' distances. For each budget the table has the best three methods and the best baseline "
        "(best of n draws by r, or a truncated prior).",
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
        "## Which kinds may vote",
        "",
        f"Tested on two sets of {tested.get('images')} real images ({tested.get('split')}) and on samples of "
        f"`{tested.get('base')}`. Classes to drop: {tested.get('classes')}. In standard errors: the distance between the ends "
        "of a series, or a distance from 0. An asterisk marks a failed test.",
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
