"""Tables of the models of points in the plane."""

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

from markdown import grid, listed, page


def toys(results: dict[str, Any]) -> str:
    """Points in the plane before and after, by model or by experiment."""
    words = (
        f"N = {results['num_points']}, seeds {listed(results['seeds'])}. Distance: earth mover's, to data, over that of data "
        "to data. High quality: within four widths of a component. p: chi-square of the modes' weights, smallest of the seeds."
    )
    head = ["model", "method", "distance before", "after", "high quality before", "after", "modes after", "p after"]
    rows = []
    for row in results["rows"]:
        settings, before, after = row["settings"], row["before"], row["after"]
        given = [f"{name} {settings[name]:g}" for name in ("eps", "n_steps") if settings.get(name) is not None]
        chances = [p for p in after["p_values"] if p is not None]
        rows.append(
            [
                f"{row['title']}: `{row['model']}`" if "title" in row else f"`{row['model']}`",
                ", ".join([settings["method"], *given]),
                f"{before['over_floor']:.2f}",
                f"{after['over_floor']:.2f}" if math.isfinite(after["over_floor"]) else "diverged",
                f"{before['high_quality']:.2%}",
                f"{after['high_quality']:.2%}",
                f"{min(after['recovered'])} of {row['modes']}" if row["modes"] > 1 else "–",
                f"{min(chances):.2g}" if chances else "–",
            ]
        )
    return page(words, grid(head, rows))


def toy_weights(results: dict[str, Any]) -> str:
    """Which methods mend wrong weights over 25 modes."""
    words = (
        f"25 Gaussians, generator with weights 1 to 4, exact discriminator: {results['num_points']} points, one draw a chain, "
        f"seeds {listed(results['seeds'])}. The law's own share of high quality is {results['high_quality_ceiling']:.3%}."
    )
    by_method: dict[str, list[dict[str, Any]]] = {}
    for row in results["rows"]:
        by_method.setdefault(f"{row['settings']['method']}, n_steps {row['settings']['n_steps']}", []).append(row)
    rows = [
        [
            method,
            f"{min(run['recovered'] for run in runs)} of {runs[0]['modes']}",
            listed(f"{run['high_quality']:.3%}" for run in runs),
            listed(f"{run['p_value']:.2g}" for run in runs),
        ]
        for method, runs in by_method.items()
    ]
    return page(words, grid(["method", "modes", "high quality", "p of equal weights"], rows))


def toy_sweep(results: dict[str, Any]) -> str:
    """A GAN with an energy over architecture, step size and number of steps."""
    words = (
        f"GAN with an energy, {results['dataset_title']}: earth mover's distance over its floor after K Langevin steps; "
        f"diverged: a hundred floors or more. N = {results['num_points']}, seeds {listed(results['seeds'])}; trained with "
        f"K = {results['trained_with']['mcmc_steps']}, eps {results['trained_with']['eps']:g}."
    )
    rows = [
        [
            row["architecture"],
            f"{row['eps']:g}",
            *("diverged" if value is None else f"{value:.2f}" for value in row["over_floor"].values()),
        ]
        for row in results["rows"]
    ]
    head = ["networks", "eps", *(f"K = {count}" for count in results["rows"][0]["over_floor"])]
    return page(words, grid(head, rows))


def joint_stability(results: dict[str, Any]) -> str:
    """A GAN alone against the same GAN beside an energy, and its points revised, over the seeds of training."""
    seeds = sorted({row["seed"] for row in results["rows"]})
    words = (
        f"Trained with seeds {listed(seeds)}, {results['steps']} batches each, widths "
        f"{listed(results['widths'])}; N = {results['num_points']}; {results['device']}. Distance: earth mover's, to data, "
        "over that of data to data; mean ± sd over the seeds. Failed: distance over "
        f"{results['failed_floors']:g}, or a mode without a point of high quality."
    )
    head = ["game", "data", "points of", "distance", "worst", "high quality", "lowest", "failed", "processor seconds"]
    rows = []
    measured = {row["game"] for row in results["rows"]}
    games = [game for game in results["games"] if game in measured]
    for game, (dataset, title) in itertools.product(games, results["titles"].items()):
        for family, steps, of in compared(results["rows"]):
            which = (game, dataset, family)
            trained = [row for row in results["rows"] if (row["game"], row["dataset"], row["family"]) == which]
            found = [row["by"][steps] for row in trained]
            distances = [math.inf if one["over_floor"] is None else one["over_floor"] for one in found]
            quality = [one["high_quality"] for one in found]
            rows.append(
                [
                    _GAMES[game],
                    title,
                    of,
                    f"{statistics.fmean(distances):.2f} ± {statistics.stdev(distances):.2f}",
                    f"{max(distances):.2f}",
                    f"{statistics.fmean(quality):.1%} ± {statistics.stdev(quality):.1%}",
                    f"{min(quality):.1%}",
                    f"{sum(one['failed'] for one in found)} of {len(found)}",
                    f"{statistics.fmean(row['cpu_seconds'] for row in trained):.0f}" if steps == "0" else "–",
                ]
            )
    return page(words, grid(head, rows))


_GAMES = {"noise": "noise of many levels", "plain": "no noise"}


def compared(trainings: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """(family, steps, words) of each line of a table that sets trainings of a GAN alone and beside an energy side by side."""
    revised = [steps for steps in next(row for row in trainings if row["family"] == "gan-ebm")["by"] if steps != "0"]
    alone = [("gan", "0", "the GAN alone"), ("gan-ebm", "0", "the GAN beside an energy")]
    return [*alone, *(("gan-ebm", steps, f"the same, revised by {steps} steps") for steps in revised)]
