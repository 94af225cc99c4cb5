"""Committed results as Markdown: one function a file of `benchmarks/results`, for `readme_tables.py`."""

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

STEP_COLUMNS = {
    "step of networks as stored": "step_bare_over_floor",
    "prepared gradient": "gradient_over_floor",
    "prepared step": "step_over_floor",
    "prepared step, bf16": "step_bf16_over_floor",
    "torchebm": "torchebm_over_floor",
    "ebmkit": "ebmkit_over_floor",
}
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


def speed(results: dict[str, Any]) -> str:
    """A sampling step beside its floor and its peers, and whole runs beneath."""
    shown = {title: key for title, key in STEP_COLUMNS.items() if any(key in row for row in results["rows"])}
    native = "native" if results["native_bfloat16"] else "no native"
    words = (
        f"`{results['model']}`, {results['machine']}, {results['threads']} threads, torch {results['torch']}, {native} bf16; "
        "medians of one interleaved run. The floor is generator, discriminator and gradient of the networks as stored; times "
        "are shares of it."
    )
    head = [
        "batch",
        "floor, s",
        *shown,
        "noise and bookkeeping / prepared gradient",
        "MALA: ebmkit / ours",
        "one at a time / batched",
    ]
    rows = [
        [
            row["batch"],
            f"{row['seconds']['floor']:.4f}",
            *(number(row.get(key), 2) for key in shown.values()),
            f"{100 * row['added_to_gradient']:.1f} %",
            number(row.get("ebmkit_mala_over_ours"), 2),
            number(row["one_at_a_time_over_batched"], 2),
        ]
        for row in results["rows"]
    ]
    return page(words, grid(head, rows), whole_runs(results) if "evaluate" in results else "")


def whole_runs(results: dict[str, Any]) -> str:
    whole, start = results["evaluate"], results["startup"]
    peaks = ", ".join(f"{peak:.0f} MB with {steps} steps" for steps, peak in results["peak_memory_mb"].items())
    first, second = (run["seconds"] for run in start["refine_16x20"][:2])
    return (
        f"`evaluate`, {whole['num_images']} images by {whole['n_steps']} steps with features and distances: "
        f"{whole['images_a_second']} images a second. Peak memory of a process that refines 16 images: {peaks}. Start to "
        f"served page {start['start_to_page_s']:.1f} s; 16 images by 20 steps over HTTP: {first:.1f} s, then {second:.1f} s."
    )


def precision(results: dict[str, Any]) -> str:
    """Whether bfloat16 changes the law."""
    head = ["ratio", "sd of r", "sd of the change, nats", "effective share after reweighting", "median error of the gradient",
            "MALA accepts, fp32", "bf16", "s.e. of the difference"]  # fmt: skip
    rows = [
        [
            name,
            f"{row['ratio_sd']:.2f}",
            f"{row['difference_sd']:.3f}",
            f"{row['effective_sample_share']:.2%}",
            f"{row['gradient_error_median']:.1%}",
            f"{row['mala_accepts_fp32']:.3f}",
            f"{row['mala_accepts_bf16']:.3f}",
            f"{row['mala_difference_error']:.3f}",
        ]
        for name, row in results["ratios"].items()
    ]
    words = (
        f"`{results['model']}`, bf16 against fp32 over {results['num_images']} latents; MALA over {results['chains']} chains "
        f"of {results['steps']} steps. {results['machine']}, torch {results['torch']}."
    )
    return page(words, grid(head, rows))


def mnist(results: dict[str, Any]) -> str:
    """The MNIST models before and after their own samplers, and what was asked of the energies."""
    real = results["real"]
    words = (
        f"{results['title']} (`{results['extractor']}`, sha256 {results['sha256'][:12]}), N = {results['num_images']}, seeds "
        f"{listed(results['seeds'])}, reference: test images. Mean ± sd over seeds. Real digits at this N: Fréchet floor "
        f"{results['floors']['frechet_mean']:.2f}, confidence {real['mean_confidence']:.3f}, Inception-style score "
        f"{real['inception_style_score']:.2f}."
    )
    rows, asked, counts = [], [], [["real digits", "", *shares([real["histogram"]])]]
    for name, model in results["models"].items():
        summary = model["summary"]
        for side in ("before", "after"):
            told = [plus_minus(summary[f"{key}_{side}"], digits) for key, (_, digits) in DIGIT_COLUMNS.items()]
            rows.append(
                [f"`{name}`", side, *told, number(summary.get(f"energy_{side}"), 2), number(summary.get("energy_real"), 2)]
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
    return page(words, grid(head, rows), "How often the feature net saw each digit:", classes, "\n\n".join(asked))


def shares(histograms: Sequence[Sequence[int]]) -> list[str]:
    """The share of each class in percent, mean over the runs."""
    return [f"{100 * statistics.fmean(one):.0f}" for one in zip(*([n / sum(h) for n in h] for h in histograms), strict=True)]


def energy_step(results: dict[str, Any]) -> str:
    """A training step of an energy over its floor."""
    seconds = results["cpu_seconds"]
    return page(
        f"A training step of the MNIST energy at batch {results['batch']} takes {results['step_over_floor']:.3f} times its "
        f"floor of {results['mcmc_steps']} forward-plus-gradient passes and one update: {seconds['step']:.2f} and "
        f"{seconds['floor']:.2f} CPU seconds, medians of {results['repeats']} turns, {results['machine']}, "
        f"{results['threads']} thread, torch {results['torch']}."
    )


def dbn(results: dict[str, Any]) -> str:
    """The belief network of digits: its samples, its likelihood, and the start it gives a classifier."""
    real, likely, fits = results["real"], results["likelihood"], results["classifier"]
    words = (
        f"`{results['model']}`: {results['title']} (`{results['extractor']}`, sha256 {results['sha256'][:12]}), "
        f"N = {results['num_images']}, seeds {listed(results['seeds'])}, reference: test images. Mean ± sd over seeds. Real "
        f"digits at this N: Fréchet floor {results['floors']['frechet_mean']:.2f}, confidence {real['mean_confidence']:.3f}, "
        f"Inception-style score {real['inception_style_score']:.2f}, E KL(p(y\\|x), p(y)) {real['kl_to_marginal']:.3f}, "
        f"E KL(p(y), p(y\\|x)) {real['kl_from_marginal']:.2f}. {results['machine']}, torch {results['torch']}."
    )
    head = ["Gibbs steps from a coin's tosses", *(title for title, _ in ENERGY_GAN_COLUMNS.values())]
    rows = [
        [str(steps), *(plus_minus(row[key], digits) for key, (_, digits) in ENERGY_GAN_COLUMNS.items())]
        for steps, row in results["samples"]["by_steps"].items()
    ]
    partitions = listed(f"{one['value']:.2f} ± {one['error']:.2f}" for one in likely["log_partitions"]["top"])
    likelihood = (
        f"log p(v) of {likely['digits']} test digits made bits, nats: lower bound of the network "
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
    told = f"A classifier of the network's layers after {fits['steps']} steps of fine-tuning, by number of labels:"
    return page(words, grid(head, rows), likelihood, told, grid(["labels", "begins in", "rate", "test error"], errors))


def _nats(value: dict[str, float]) -> str:
    return f"{value['mean']:.2f} ± {value['error']:.2f} (sd {value['sd']:.2f})"


def ebgan(results: dict[str, Any]) -> str:
    """GANs with an energy for a discriminator: their samples before and after, and what D says."""
    real = results["real"]
    words = (
        f"{results['title']} (`{results['extractor']}`, sha256 {results['sha256'][:12]}), N = {results['num_images']}, seeds "
        f"{listed(results['seeds'])}, reference: test images. Mean ± sd over seeds. Real digits at this N: Fréchet floor "
        f"{results['floors']['frechet_mean']:.2f}, Inception-style score {real['inception_style_score']:.2f}, "
        f"E KL(p(y\\|x), p(y)) {real['kl_to_marginal']:.3f}, E KL(p(y), p(y\\|x)) {real['kl_from_marginal']:.2f}."
    )
    rows, said = [], []
    for name, model in results["models"].items():
        summary = model["summary"]
        sampler = summary["sampler"]
        steps = f"{sampler['method']}, {sampler['ratio']}, eps {sampler['eps']:g}, n_steps {sampler['n_steps']}"
        for side in ("before", "after"):
            told = [plus_minus(summary[f"{key}_{side}"], digits) for key, (_, digits) in ENERGY_GAN_COLUMNS.items()]
            rows.append([f"`{name}`", steps if side == "after" else "before", *told])
        areas = ", ".join(f"{what} {area:.3f}" for what, area in summary["aurocs"].items())
        said.append(
            [f"`{name}`", summary["unit"], number(summary["d_real"], 3), plus_minus(summary["d_generated"], 3),
             plus_minus(summary["cosine_generated"], 3), number(summary["cosine_real"], 3), areas]
        )  # fmt: skip
    head = ["model", "sampler", *(title for title, _ in ENERGY_GAN_COLUMNS.values())]
    head_of_d = ["model", "D is", "mean D, real", "generated", "squared cosine of codes, generated", "real",
                 "AUROC of D, unseen digits against"]  # fmt: skip
    return page(words, grid(head, rows), grid(head_of_d, said))


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
                f"{after['over_floor']:.2f}" if math.isfinite(after["over_floor"]) else "flown apart",
                f"{before['high_quality']:.2%}",
                f"{after['high_quality']:.2%}",
                f"{min(after['recovered'])} of {row['modes']}" if row["modes"] > 1 else "–",
                f"{min(chances):.2g}" if chances else "–",
            ]
        )
    return page(words, grid(head, rows))


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
    for family, told in results["summary"].items():
        best, median = told["best"], told["median"]
        setting = best["setting"]
        rows.append(
            [
                families[family],
                told["trials"],
                f"{told['mean_score']:.3f}",
                f"{median['score']:.3f} / {median['reversed_score']:.2f}",
                f"{best['score']:.3f} / {best['reversed_score']:.2f}",
                f"G {setting['layers_g']} × {setting['size_g']} ({setting['optim_g']}), D {setting['layers_d']} × "
                f"{setting['size_d']} ({setting['optim_d']}), {'' if setting['dropout_d'] else 'no '}dropout, "
                f"rate {setting['rate']:g}",
            ]
        )
        for most, found in results["histograms"].items():
            counts = found[family]
            pairs = [counts[place] + counts[place + 1] for place in range(0, len(counts), 2)]
            bins.append([families[family], f"at most {most}", sum(counts), *pairs])
    edges = results["edges"][::2]
    head = ["family", "trials", "mean score", "median, other way round", "best, other way round", "the best's setting"]
    spans = [f"{low:.1f}–{high:.1f}" for low, high in itertools.pairwise(edges)]
    return page(words, grid(head, rows), grid(["family", "layers of G and D", "trials", *spans], bins))


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
        f"GAN with an energy, {results['dataset_title']}: earth mover's distance over its floor after K Langevin steps; flown "
        f"apart: a hundred floors or more. N = {results['num_points']}, seeds {listed(results['seeds'])}; trained with "
        f"K = {results['trained_with']['mcmc_steps']}, eps {results['trained_with']['eps']:g}."
    )
    rows = [
        [
            row["architecture"],
            f"{row['eps']:g}",
            *("flown apart" if value is None else f"{value:.2f}" for value in row["over_floor"].values()),
        ]
        for row in results["rows"]
    ]
    head = ["networks", "eps", *(f"K = {count}" for count in results["rows"][0]["over_floor"])]
    return page(words, grid(head, rows))


def sense(results: dict[str, Any]) -> str:
    """What the face features make of held-out faces that were spoiled, one line a kind, strength growing to the right."""
    clean, *spoiled = results["rows"]
    words = (
        f"{results['title']} (`{results['extractor']}`, sha256 {results['sha256'][:12]}): kernel distance × 1000 of "
        f"{results['num_images']} {results['split']} faces, mean of {results['draws']} draws; in brackets the strength. "
        f"Untouched: {1000 * clean['mean']:.2f} ± {1000 * clean['sd']:.2f}."
    )
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in spoiled:
        by_kind.setdefault(f"{row['kind']} ({row['unit']})", []).append(row)
    most = max(map(len, by_kind.values()))
    rows = [
        [kind, *(f"{1000 * row['mean']:.1f} ({row['strength']:g})" for row in line), *["–"] * (most - len(line))]
        for kind, line in by_kind.items()
    ]
    head = ["spoiled by", "weakest", *["stronger"] * (most - 2), "strongest"]
    return page(words, grid(head, rows))


def seen_by_ratio(results: dict[str, Any]) -> str:
    """What the log ratios go by among generated images."""
    ratios = results["ratios"]
    told = [f"{name} (mean {one['mean']:.2f}, sd {one['sd']:.2f})" for name, one in ratios.items()]
    words = (
        f"`{results['model']}`, {results['num_images']} generated faces, seed {results['seed']}: Spearman's rank correlation "
        f"of log ratios, {' and '.join(told)}, with"
    )
    titles = next(iter(ratios.values()))["rank_correlations"]
    rows = [[title, *(f"{one['rank_correlations'][title]:+.2f}" for one in ratios.values())] for title in titles]
    return page(words, grid(["property", *ratios], rows))


def known(results: dict[str, Any]) -> str:
    """The known experiments beside ours: 32 images as there, 32 of ours over seeds, and a sample large enough to measure."""
    small, ratio = results["small"], next(iter(results["models"].values()))["ratio"]
    head = ["model", "setting", "published, 32 images", "Fréchet, 32 images of ours", "gain there", "Fréchet, large N",
            "kernel × 1000", "gain"]  # fmt: skip
    rows, floors, sizes = [], [], []
    for name, model in results["models"].items():
        sizes.append(f"`{name}` {model['large']}")
        floor = model["floor_small"]
        floors.append(f"`{name}` {floor['frechet_mean']:.2f} ± {floor['frechet_sd']:.2f}")
        for row in model["rows"]:
            kernel = row["large"]["kernel_distance"]["mean"]
            gain = row["large"].get("kernel_gain", {}).get("mean")
            rows.append(
                [
                    f"`{name}`",
                    row["setting"],
                    f"{row['published']:.2f}",
                    plus_minus(row["small"], 2),
                    plus_minus(row["gain_small"], 2) if "gain_small" in row else "–",
                    number(row["large"]["frechet_distance"]["mean"], 3),
                    f"{1000 * kernel:.2f}",
                    "–" if gain is None else f"{1000 * gain:+.2f}",
                ]
            )
    words = (
        f"Langevin, {ratio} ratio. Published: Inception-v3 features of {small} images against another data set; ours: each "
        f"model's own features against its test images. The two columns of Fréchet distances are not comparable. Of "
        f"{small} images mean ± sd over {len(results['small_seeds'])} seeds; large N: {'; '.join(sizes)}, seed(s) "
        f"{listed(results['seeds'])}. "
        f"Real against real at {small}: {'; '.join(floors)}. {results['machine']}."
    )
    return page(words, grid(head, rows))


def other_eyes(results: dict[str, Any]) -> str:
    """Methods at the best settings of a screen, in the features of an encoder that knows no labels."""
    encoder, floor = results["encoder"], next(iter(results["floors"].values()))
    words = (
        f"`{results['model']}`, a contrastive encoder's {encoder['dimension']} features ({encoder['steps']} batches of "
        f"{encoder['batch_size']} training images, no labels), N = {results['num_images']}, seeds {listed(results['seeds'])}, "
        f"reference: {results['test_images']} test images. Held-out real images: Fréchet {floor['frechet_mean']:.2f}, kernel "
        f"× 1000 {1000 * floor['kernel_mean']:.2f}. {results['machine']}."
    )
    head = ["method", "ratio", "Fréchet, before", "after", "fall", "kernel × 1000, before", "after", "difference ± s.e."]
    rows = []
    for row in results["rows"]:
        before, after = (row[f"frechet_{side}"]["mean"] for side in ("before", "after"))
        kernel = [1000 * row[f"kernel_{side}"]["mean"] for side in ("before", "after")]
        difference, error = (1000 * row[f"kernel_difference{end}"]["mean"] for end in ("", "_error"))
        rows.append([row["method"], row["ratio"], f"{before:.2f}", f"{after:.2f}", f"{100 * (1 - after / before):.0f} %",
                     *(f"{value:.1f}" for value in kernel), f"{difference:+.1f} ± {error:.1f}"])  # fmt: skip
    return page(words, grid(head, rows))


def grid(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def page(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def plus_minus(value: dict[str, float], digits: int) -> str:
    return f"{value['mean']:.{digits}f} ± {value['sd']:.{digits}f}"


RENDERERS = {
    "speed": speed,
    "speed-celeba-dcgan": speed,
    "precision": precision,
    "mnist": mnist,
    "dbn": dbn,
    "energy-step": energy_step,
    "ebgan": ebgan,
    "toys-models": toys,
    "toys-experiments": toys,
    "toys-weights": toy_weights,
    "toys-sweep": toy_sweep,
    "grid-search": grid_search,
    "celeba-features-sense": sense,
    "celeba-dcgan-ratio": seen_by_ratio,
    "known-experiments": known,
    "cifar10-dcgan-other-eyes": other_eyes,
}
