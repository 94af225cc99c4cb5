"""Tables that ask why a panel says what it says: images matched in brightness and contrast, and a network from outside."""

from typing import Any

from markdown import grid, listed, page


def matched(results: dict[str, Any]) -> str:
    """What is left of each change once images agree with real ones in four numbers; then those numbers themselves."""
    base, *methods = results["rows"]
    kinds = list(base["kinds"])
    head = ["images", *(f"{kind}{' (no vote)' if kind == results['body'] else ''}" for kind in kinds)]
    rows = []
    for which, told in (("all", "all"), ("matched", "matched")):
        rows.append([f"base, {told}", *(_pm(base["kinds"][kind][which]) for kind in kinds)])
        for row in methods:
            changes = (_change(base["kinds"][kind][which], row["kinds"][kind][which]) for kind in kinds)
            rows.append([f"{_name(row)}, {told}", *changes])
    numbers = list(results["real"])
    second = [
        [name, *(f"{told[number]['mean']:.1f} ± {told[number]['sd']:.1f}" for number in numbers)]
        for name, told in [
            ("base", base["numbers"]), *((_name(row), row["numbers"]) for row in methods), ("test images", results["real"])
        ]
    ]  # fmt: skip
    kept = ", ".join(f"{_name(row)} {row['kept']}" for row in results["rows"])
    words = (
        f"Panel `{results['panel']}` ({results['fingerprint'][:12]}), N = {results['num_images']} images, seeds "
        f"{listed(results['seeds'])}, {results['real_images']} test images. Unbiased kernel distance ± s.e. of base, and its "
        f"change, with that in standard errors (of unpaired sets, so rather too large). Matched: {kept} images. "
        f"{results['machine']}."
    )
    ranks = ", ".join(f"{name} {value:+.2f}" for name, value in results["correlations"].items())
    below = f"Grey levels of 255, mean ± sd over images. Rank correlation of r with each among base images: {ranks}."
    return page(words, grid(head, rows)) + "\n" + page(below, grid(["images", *numbers], second))


def imagenet(results: dict[str, Any]) -> str:
    """What ImageNet's layers say, a column a depth."""
    rows = results["rows"]
    depths = list(rows[0]["depths"])
    lines = [["base", *(_pm(rows[0]["depths"][depth]["base"]) for depth in depths)]]
    lines += [
        [_name(row), *(f"{row['depths'][depth]['relative']:+.0%} ({row['depths'][depth]['z']:+.1f})" for depth in depths)]
        for row in rows
    ]
    words = (
        f"Inception-v3, layers trained on ImageNet alone ({results['network']}, sha256 {results['sha256'][:12]}), images "
        f"enlarged to {results['side']}×{results['side']}, N = {results['num_images']}, seeds {listed(results['seeds'])}, "
        f"{results['real_images']} test images, bases of {results['fitted']} training images. Unbiased kernel distance ± s.e. "
        f"of base; changes, with those in standard errors. {results['machine']}."
    )
    return page(words, grid(["images", *depths], lines))


def _name(row: dict[str, Any]) -> str:
    steps = row["settings"].get("n_steps")
    return f"{row['method']}, {steps} steps" if steps else row["method"]


def _pm(one: dict[str, float]) -> str:
    return f"{one['value']:.4f} ± {one['error']:.4f}"


def _change(base: dict[str, float], after: dict[str, float]) -> str:
    change = after["value"] - base["value"]
    error = (base["error"] ** 2 + after["error"] ** 2) ** 0.5
    return f"{change / base['value']:+.0%} ({change / error:+.1f})"
