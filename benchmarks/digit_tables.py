"""Tables of the models of digits: samples, energies, the belief network, the grid search."""

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

from markdown import grid, listed, number, page, plus_minus
from point_tables import compared

DIGIT_COLUMNS = {
    "frechet_distance": ("Fréchet distance", 2),
    "inception_style_score": ("Inception-style score", 2),
    "mean_confidence": ("confidence", 3),
    "classes": ("classes", 1),
    "histogram_divergence": ("KL of classes to uniform", 3),
}

ENERGY_GAN_COLUMNS = {
    "frechet_distance": ("Fréchet distance", 2),
    "inception_style_score": ("Inception-style score", 2),
    "kl_to_marginal": ("E KL(p(y\\|x), p(y))", 3),
    "kl_from_marginal": ("E KL(p(y), p(y\\|x))", 2),
    "mean_confidence": ("confidence", 3),
    "histogram_divergence": ("KL of classes to uniform", 3),
}


def mnist(results: dict[str, Any]) -> str:
    """The MNIST models before and after their own samplers, and what was asked of the energies."""
    real = results["real"]
    words = (
        f"{_measured(results)}, confidence {real['mean_confidence']:.3f}, Inception-style score "
        f"{real['inception_style_score']:.2f}."
    )
    rows, asked, counts = [], [], [["real digits", "", *shares([real["histogram"]])]]
    for name, model in results["models"].items():
        summary = model["summary"]
        for side in ("before", "after"):
            cells = [plus_minus(summary[f"{key}_{side}"], digits) for key, (_, digits) in DIGIT_COLUMNS.items()]
            rows.append(
                [f"`{name}`", side, *cells, number(summary.get(f"energy_{side}"), 2), number(summary.get("energy_real"), 2)]
            )
            counts.append([f"`{name}`", side, *shares([run[side]["histogram"] for run in model["runs"]])])
        if "chains_from_noise" in summary:
            chains = summary["chains_from_noise"]
            areas = ", ".join(f"{what.replace('_', ' ')} {area:.3f}" for what, area in summary["aurocs"].items())
            asked.append(
                f"`{name}`: {chains['num_images']} chains from noise: mean confidence {chains['mean_confidence']:.3f} "
                f"in {chains['classes']} classes. Area under the ROC curve of unseen digits against: {areas}."
            )
    head = ["model", "side", *(title for title, _ in DIGIT_COLUMNS.values()), "mean energy", "of real digits"]
    classes = grid(["% of images", "side", *range(10)], counts)
    return page(words, grid(head, rows), "How often the classifier assigned each digit:", classes, "\n\n".join(asked))


def shares(histograms: Sequence[Sequence[int]]) -> list[str]:
    """The share of each class in percent, mean over the runs."""
    return [f"{100 * statistics.fmean(one):.0f}" for one in zip(*([n / sum(h) for n in h] for h in histograms), strict=True)]


def dbn(results: dict[str, Any]) -> str:
    """The belief network of digits: its samples, its likelihood, and the start it gives a classifier."""
    real, likely, fits = results["real"], results["likelihood"], results["classifier"]
    words = (
        f"`{results['model']}`: {_measured(results)}, confidence {real['mean_confidence']:.3f}, {_scores(real)}. "
        f"{results['machine']}, torch {results['torch']}."
    )
    head = ["Gibbs steps from random bits", *(title for title, _ in ENERGY_GAN_COLUMNS.values())]
    rows = [
        [str(steps), *(plus_minus(row[key], digits) for key, (_, digits) in ENERGY_GAN_COLUMNS.items())]
        for steps, row in results["samples"]["by_steps"].items()
    ]
    partitions = listed(f"{one['value']:.2f} ± {one['error']:.2f}" for one in likely["log_partitions"]["top"])
    likelihood = (
        f"log p(v) of {likely['digits']} test digits turned into bits, nats: lower bound of the network "
        f"{_nats(likely['lower_bound'])}, its first machine alone {_nats(likely['first_machine_alone'])}, independent pixels "
        f"{_nats(likely['independent_pixels'])} (± standard error over the digits; sd over seeds of the bits and draws, "
        f"{likely['draws']} draws a digit). log Z of the top machine by annealing, {likely['temperatures']} temperatures and "
        f"{likely['runs']} runs a seed: {partitions}."
    )
    starts = {"network": "this network", "random": "random weights"}
    errors = [
        [
            str(row["labels"]),
            starts[row["start"]],
            f"{row['rate']:g}",
            f"{100 * row['test_error']['mean']:.2f} ± {100 * row['test_error']['sd']:.2f} %",
        ]
        for row in fits["rows"]
    ]
    caption = f"A classifier of the network's layers after {fits['steps']} steps of fine-tuning, by number of labels:"
    return page(words, grid(head, rows), likelihood, caption, grid(["labels", "begins in", "rate", "test error"], errors))


def _measured(results: dict[str, Any]) -> str:
    """In what features, at what size, and what real digits come to: as far as their Fréchet floor."""
    return (
        f"{results['title']} (`{results['extractor']}`, sha256 {results['sha256'][:12]}), N = {results['num_images']}, seeds "
        f"{listed(results['seeds'])}, reference: test images. Mean ± sd over seeds. Real digits at this N: Fréchet floor "
        f"{results['floors']['frechet_mean']:.2f}"
    )


def _scores(real: dict[str, Any]) -> str:
    """The score of real digits, with the exponential and without it, either way round."""
    return (
        f"Inception-style score {real['inception_style_score']:.2f}, E KL(p(y\\|x), p(y)) {real['kl_to_marginal']:.3f}, "
        f"E KL(p(y), p(y\\|x)) {real['kl_from_marginal']:.2f}"
    )


def _nats(value: dict[str, float]) -> str:
    return f"{value['mean']:.2f} ± {value['error']:.2f} (sd {value['sd']:.2f})"


def ebgan(results: dict[str, Any]) -> str:
    """GANs with an energy for a discriminator: their samples before and after, and what D says."""
    words = f"{_measured(results)}, {_scores(results['real'])}."
    rows, said = [], []
    for name, model in results["models"].items():
        summary = model["summary"]
        sampler = summary["sampler"]
        steps = f"{sampler['method']}, {sampler['ratio']}, eps {sampler['eps']:g}, n_steps {sampler['n_steps']}"
        for side in ("before", "after"):
            cells = [plus_minus(summary[f"{key}_{side}"], digits) for key, (_, digits) in ENERGY_GAN_COLUMNS.items()]
            rows.append([f"`{name}`", steps if side == "after" else "before", *cells])
        areas = ", ".join(f"{what} {area:.3f}" for what, area in summary["aurocs"].items())
        said.append(
            [f"`{name}`", summary["unit"], number(summary["d_real"], 3), plus_minus(summary["d_generated"], 3),
             plus_minus(summary["cosine_generated"], 3), number(summary["cosine_real"], 3), areas]
        )  # fmt: skip
    head = ["model", "sampler", *(title for title, _ in ENERGY_GAN_COLUMNS.values())]
    head_of_d = ["model", "D is", "mean D, real", "generated", "squared cosine of codes, generated", "real",
                 "AUROC of D, unseen digits against"]  # fmt: skip
    return page(words, grid(head, rows), grid(head_of_d, said))


def grid_search(results: dict[str, Any]) -> str:
    """Best, median and mean of each family's trials, and how many reach a score, by number of layers."""
    real, families = results["real"], {"gan": "GAN", "ebgan": "EBGAN", "ebgan-pt": "EBGAN-PT"}
    spent = sum(row["cpu_seconds"] for row in results["rows"]) / 60
    counts = listed(f"{results['settings'][family]:,} of {title}" for family, title in families.items())
    words = (
        f"Fully connected networks on MNIST, {results['done']} of {results['queued']} queued trials done, at a reduced budget: "
        f"settings drawn at random (seed {results['seed']}) from the published {counts}, the same for EBGAN and EBGAN-PT; each "
        f"trained once on {results['batches']:,} batches of {results['batch_size']} digits. Score: mean of KL(p(y|x) ‖ p(y)) "
        f"over {results['num_images']:,} generated digits under `{results['extractor']}` (sha256 {results['sha256'][:12]}), at "
        f"most log 10 = 2.303; beside it KL(p(y) ‖ p(y|x)), as published, without upper bound. Real test digits, "
        f"{real['num_images']:,}: {real['score']:.3f} and {real['reversed_score']:.2f}. One worker of one thread, "
        f"{results['machine']}, torch {results['torch']}, {spent:.0f} CPU minutes. `{results['command']}`"
    )
    rows, bins = [], []
    for family, summary in results["summary"].items():
        best, median = summary["best"], summary["median"]
        setting = best["setting"]
        rows.append(
            [
                families[family],
                summary["trials"],
                f"{summary['mean_score']:.3f}",
                f"{median['score']:.3f} / {median['reversed_score']:.2f}",
                f"{best['score']:.3f} / {best['reversed_score']:.2f}",
                f"G {setting['layers_g']} × {setting['size_g']} ({setting['optim_g']}), D {setting['layers_d']} × "
                f"{setting['size_d']} ({setting['optim_d']}), {'' if setting['dropout_d'] else 'no '}dropout, "
                f"rate {setting['rate']:g}",
            ]
        )
        for most, found in results["histograms"].items():
            counts = found[family]
            pairs = [counts[index] + counts[index + 1] for index in range(0, len(counts), 2)]
            bins.append([families[family], f"at most {most}", sum(counts), *pairs])
    edges = results["edges"][::2]
    head = ["family", "trials", "mean score", "median, other way round", "best, other way round", "the best's setting"]
    spans = [f"{low:.1f}–{high:.1f}" for low, high in itertools.pairwise(edges)]
    return page(words, grid(head, rows), grid(["family", "layers of G and D", "trials", *spans], bins))


def joint_digits(results: dict[str, Any]) -> str:
    """A GAN of digits alone against the same GAN beside an energy, and its digits revised, over the seeds of training."""
    seeds = sorted({row["seed"] for row in results["rows"]})
    words = (
        f"Trained with seeds {listed(seeds)}, {results['steps']} batches of {results['batch_size']} each, chains of "
        f"{results['chains']['chain_steps']} steps; {results['device']}. {results['title']} (`{results['extractor']}`, sha256 "
        f"{results['sha256'][:12]}), N = {results['num_images']}, reference: test images; mean ± sd over the seeds. Found: "
        f"classes with at least {results['failed_share']:.0%} of the images. Failed: a class that is not found, or a distance "
        f"over {results['failed_distance']:g}. Fréchet floor {results['floors']['frechet_mean']:.2f}."
    )
    head = ["digits of", "Fréchet distance", "worst", "classes found", "confidence", "failed", "processor seconds"]
    rows = []
    for family, steps, of in compared(results["rows"]):
        trained = [row for row in results["rows"] if row["family"] == family]
        found = [row["by"][steps] for row in trained]
        distances, confidence = ([one[name] for one in found] for name in ("frechet_distance", "mean_confidence"))
        rows.append(
            [
                of,
                f"{statistics.fmean(distances):.2f} ± {statistics.stdev(distances):.2f}",
                f"{max(distances):.2f}",
                listed(one["classes"] for one in found),
                f"{statistics.fmean(confidence):.3f}",
                f"{sum(one['failed'] for one in found)} of {len(found)}",
                f"{statistics.fmean(row['cpu_seconds'] for row in trained):.0f}" if steps == "0" else "–",
            ]
        )
    return page(words, grid(head, rows))
