"""Tables about the panels' verdicts: the confirmed ones, matched images, and an independent network."""

import statistics
from collections.abc import Sequence
from typing import Any

from markdown import grid, listed, page

from ebm_refine.evaluation.evidence import gains

HEADLINES = 6
BASELINES = ("best of", "truncation")


def headline(panels: Sequence[dict[str, Any]]) -> str:
    """The confirmed methods of all `panels` on test images, the largest median gains first, at most six."""
    rows = []
    for results in (panel for panel in panels if panel["split"] == "test"):
        best = [_gain(row) for row in results["rows"] if row["method"].startswith("best of")]
        for row in results["rows"]:
            if row["verdict"]["word"] == "confirmed" and not row["method"].startswith(BASELINES):
                rows.append((results["model"], row, best[0] if best else "–"))
    if not rows:
        return page("No method is confirmed on test images yet.")
    rows.sort(key=lambda found: -found[1]["verdict"]["median_gain"])
    lines = [
        [f"`{model}`", _name(row), f"{row['evaluations']:.0f}", row["images"], _gain(row), gains(row), best]
        for model, row, best in rows[:HEADLINES]
    ]
    head = ["model", "method", "evaluations", "images", "median change", "kinds that gain", "best of n by r"]
    words = (
        "Median over the voting kinds of the change of the unbiased kernel distance from test images (negative: closer to "
        "them); an evaluation is one forward and one backward pass for an image. Best of n by r: a control without chains, "
        "at equal cost of 25 evaluations."
    )
    return page(grid(head, lines), words)


def base_change(panels: Sequence[dict[str, Any]]) -> str:
    """The generator of a new model alone beside an old one's, from their panels. No images are paired, so that errors add."""
    new, old = panels
    changed = kind_changes(new, old)
    lines: list[list[str]] = [[f"`{old['model']}`"], [f"`{new['model']}`"], ["change"]]
    for line, panel in ((lines[0], old), (lines[1], new)):
        line += [f"{one['before']['value']:.4f} ± {one['before']['error']:.4f}" for one in panel["rows"][0]["rows"]]
    lines[2] += [f"{change:+.0%} ({errors:+.1f})" for _, change, errors, _ in changed]
    kinds = [kind if votes else f"[{kind}]" for kind, _, _, votes in changed]
    changes = [change for _, change, _, votes in changed if votes]
    words = (
        f"Generators alone, panel `{new['panel']}`, N = {old['num_images']} and {new['num_images']} images, "
        f"{new['real_images']} {new['split']} images. Unbiased kernel distance ± s.e.; its change, and in brackets the same in "
        "standard errors, those of both sides added. Median change of the kinds that passed the tests: "
        f"**{statistics.median(changes):+.0%}**."
    )
    return page(grid(["generator", *kinds], lines), words)


def kind_changes(new: dict[str, Any], old: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    """(kind, relative change of its distance of the generator alone, the same in standard errors, whether it votes)."""
    if new["fingerprint"] != old["fingerprint"] or new["split"] != old["split"]:
        raise ValueError(f"{new['model']} and {old['model']} were measured by different panels, or on different splits")
    # A row of a method whose ratio sees a kind says only that; one without a ratio, as truncation, says who failed a test.
    rows = [one for panel in (new, old) for row in panel["rows"] for one in row["rows"]]
    failing = {one["kind"] for one in rows if one["why"].startswith("failed")}
    found = []
    for one, other in zip(new["rows"][0]["rows"], old["rows"][0]["rows"], strict=True):
        votes = one["kind"] not in failing  # what a ratio sees matters to no generator
        difference = one["before"]["value"] - other["before"]["value"]
        error = (one["before"]["error"] ** 2 + other["before"]["error"] ** 2) ** 0.5
        found.append((one["kind"], difference / other["before"]["value"], difference / error, votes))
    return found


def law_of_ratio(models: Sequence[dict[str, Any]]) -> str:
    """The mean of r over the refined law, by two estimators, beside that over test images, model by model."""
    head = ["model", "generated", "refined: weighted draws", "effective share", "refined: chains", "test images", "difference",
            "beta solved"]  # fmt: skip
    rows = []
    for found in models:
        values = [f"{found[name]['mean']:.2f} ± {found[name]['error']:.2f}" for name in ("prior", "weighted", "chains", "real")]
        difference = found["chains"]["mean"] - found["real"]["mean"]
        error = (found["chains"]["error"] ** 2 + found["real"]["error"] ** 2) ** 0.5
        beta = f"{found['beta']['value']:.2f}" if "beta" in found else "–"
        share = f"{found['weighted']['effective_share']:.3f}"
        rows.append([f"`{found['model']}`", *values[:2], share, *values[2:], f"{difference:+.2f} ± {error:.2f}", beta])
    sizes = "; ".join(f"`{one['model']}` {one['chains']['chains']} with {one['chains']['passes']}" for one in models)
    words = (
        f"Mean of r ± s.e.; {models[0]['prior']['draws']} draws from the prior. Chains of elliptical slice sampling, and their "
        f"forward passes: {sizes}. Difference: chains less test images. Beta solved: under which weighted draws have the mean "
        "of r of held-out images that nothing else used."
    )
    spread = [
        [f"`{found['model']}`", *(" / ".join(f"{q:.2f}" for q in found["quantiles"][name]) for name in ("chains", "real"))]
        for found in models
    ]
    return page(grid(head, rows), words, grid(["model: r at 10 % / 50 % / 90 %", "refined: chains", "test images"], spread))


def longer_chains(models: Sequence[dict[str, Any]]) -> str:
    """What chains of four times the length change in each kind, as a share of the base's distance, model by model."""
    kinds = list(dict.fromkeys(kind for found in models for kind in found["kinds"]))
    lines = []
    for found in models:
        cells = []
        for kind in kinds:
            one = found["kinds"][kind]
            moved = f"{one['shorter']:+.0%} → {one['longer']:+.0%} ({one['further']:+.1%} ± {one['error']:.1%})"
            cells.append(moved if one["votes"] else f"[{moved}]")
        lines.append([f"`{found['model']}`", *cells])
    sizes = "; ".join(
        f"`{one['model']}` N = {one['num_images']}, {one['real_images']} test images, {one['shorter']['method']} with "
        f"{one['shorter']['evaluations']:.0f} and {one['longer']['evaluations']:.0f} evaluations"
        for one in models
    )
    words = (
        "Change of the unbiased kernel distance against base after the shorter and after the longer chain; in brackets their "
        "difference as a share of the base's distance ± s.e., paired, the real images' noise included. Below zero: the longer "
        f"chain is nearer to real images. In square brackets: no vote. {sizes}."
    )
    return page(grid(["model", *kinds], lines), words)


def fresh_classifier(models: Sequence[dict[str, Any]]) -> str:
    """The held-out cross-entropy of a classifier between real images and those of each law, model by model and kind by kind."""
    kinds = list(dict.fromkeys(kind for found in models for kind in found["rows"][0]["kinds"]))
    rows = []
    for found in models:
        for row in found["rows"]:
            cells = []
            for kind in kinds:
                one = row["kinds"].get(kind)
                gain = f" ({one['gain']:+.3f} ± {one['gain_error']:.3f})" if one and "gain" in one else ""
                cells.append(f"{one['cross_entropy']:.3f} ± {one['error']:.3f}{gain}" if one else "(the ratio's own)")
            rows.append([f"`{found['model']}`", _name(row), *cells])
    words = (
        "Nats, on the half that the classifier was not fitted to, ± s.e.; in brackets the gain over base, paired. "
        "0.693 (log 2): the classifier cannot distinguish the two. "
        + "; ".join(f"`{found['model']}` N = {found['num_images']}, {found['real_images']} test images" for found in models)
        + "."
    )
    return page(grid(["model", "images", *kinds], rows), words)


def _gain(row: dict[str, Any]) -> str:
    return f"{-row['verdict']['median_gain']:+.0%}"


def matched(results: dict[str, Any]) -> str:
    """The changes among images that match real ones in four statistics; then those statistics."""
    base, *methods = results["rows"]
    kinds = list(base["kinds"])
    head = ["images", *(f"{kind}{' (no vote)' if kind in (results['body'] or '').split(', ') else ''}" for kind in kinds)]
    rows = []
    for which in ("all", "matched"):
        rows.append([f"base, {which}", *(_pm(base["kinds"][kind][which]) for kind in kinds)])
        for row in methods:
            changes = (_change(base["kinds"][kind][which], row["kinds"][kind][which]) for kind in kinds)
            rows.append([f"{_name(row)}, {which}", *changes])
    numbers = list(results["real"])
    second = [
        [name, *(f"{means[number]['mean']:.1f} ± {means[number]['sd']:.1f}" for number in numbers)]
        for name, means in [
            ("base", base["numbers"]), *((_name(row), row["numbers"]) for row in methods), ("test images", results["real"])
        ]
    ]  # fmt: skip
    counts = ", ".join(f"{_name(row)} {row['kept']}" for row in results["rows"])
    words = (
        f"Panel `{results['panel']}` ({results['fingerprint'][:12]}), N = {results['num_images']} images, seeds "
        f"{listed(results['seeds'])}, {results['real_images']} test images. Unbiased kernel distance ± s.e. of base, and its "
        f"change, with that in standard errors (of unpaired sets, so rather too large). Matched: {counts} images. "
        f"{results['machine']}."
    )
    ranks = ", ".join(f"{name} {value:+.2f}" for name, value in results["correlations"].items())
    below = f"Grey levels of 255, mean ± sd over images. Rank correlation of r with each among base images: {ranks}."
    return page(words, grid(head, rows)) + "\n" + page(below, grid(["images", *numbers], second))


def amortised(results: dict[str, Any]) -> str:
    """Moves of five passes by what a map has learned, beside long chains; then how well the maps fit."""
    head = ["method", "passes", "ms an image", "moved", "accepted", "mean r", "median change", "share of the long chains' gain",
            "kinds that gain", "verdict"]  # fmt: skip
    lines = [
        [
            row["method"],
            f"{row.get('passes', 2 * row['evaluations']):.0f}",
            f"{row['milliseconds']:.1f}" if "milliseconds" in row else "–",
            f"{row['moved']:.0%}" if "moved" in row else "–",
            f"{row['accepted']:.0%}" if "accepted" in row else "–",
            f"{row['mean_ratio_after']:+.2f}",
            _gain(row),
            f"{row['share_of_long']:.0%}",
            gains(row),
            f"**{row['verdict']['word']}**",
        ]
        for row in results["rows"]
    ]
    flow, surrogate = results["maps"]["flow"], results["maps"]["surrogate"]
    shares = ", ".join(f"{name} {share:.2%}" for name, share in results["effective_shares"].items())
    words = (
        f"`{results['model']}`, panel `{results['panel']}` ({results['fingerprint'][:12]}), N = {results['num_images']}, seeds "
        f"{listed(results['seeds'])}, {results['real_images']} test images. {results['machine']}, {results['threads']} "
        f"threads, torch {results['torch']}; milliseconds are processor time of a shared machine. Moved: images that are not "
        "the start's. Accepted: of all proposals."
    )
    fits = (
        f"Fitted to {flow['states']} states. On held-out chains the flow's log likelihood is {-flow['unseen_loss']:.2f} nats "
        f"above the prior's, and the surrogate's root mean square error of r is {surrogate['unseen_loss'] ** 0.5:.2f} nats. "
        f"Processor seconds of the fits: {flow['processor_seconds']:.0f} and {surrogate['processor_seconds']:.0f}. Effective "
        f"share of {results['weighed']} draws under their weights: {shares}."
    )
    return page(grid(head, lines), words, fits)


def imagenet(results: dict[str, Any]) -> str:
    """Changes in the features of Inception-v3's ImageNet layers, one column a depth."""
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
