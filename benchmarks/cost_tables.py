"""Tables of what computing costs: a step beside its floor, whole runs, half precision."""

from typing import Any

from markdown import grid, listed, number, page

from ebm_refine.evaluation.evidence import gains, setting_of

STEP_COLUMNS = {
    "step of networks as stored": "step_bare_over_floor",
    "prepared gradient": "gradient_over_floor",
    "prepared step": "step_over_floor",
    "prepared step, bf16": "step_bf16_over_floor",
    "torchebm": "torchebm_over_floor",
    "ebmkit": "ebmkit_over_floor",
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


def energy_step(results: dict[str, Any]) -> str:
    """A training step of an energy over its floor."""
    seconds = results["cpu_seconds"]
    return page(
        f"A training step of the MNIST energy at batch {results['batch']} takes {results['step_over_floor']:.3f} times its "
        f"floor of {results['mcmc_steps']} forward-plus-gradient passes and one update: {seconds['step']:.2f} and "
        f"{seconds['floor']:.2f} CPU seconds, medians of {results['repeats']} turns, {results['machine']}, "
        f"{results['threads']} thread, torch {results['torch']}."
    )


def cost_quality(results: dict[str, Any]) -> str:
    """The panel's median change and the processor time of every method, the greatest gain first."""
    rows = sorted(results["rows"], key=lambda row: -(row["verdict"]["median_gain"] or 0.0))
    head = ["method", "setting", "evaluations", "ms an image", "lowest–highest", "median change", "kinds that gain", "verdict"]
    lines = [
        [
            f"{row['method']} (other library)" if row["peer"] else row["method"],
            setting_of(row),
            f"{row['evaluations']:.3g}",
            f"{row['milliseconds']:.1f}",
            "–".join(f"{end:.1f}" for end in row["range"]),
            f"{-row['verdict']['median_gain']:+.0%}",
            gains(row),
            f"**{row['verdict']['word']}**",
        ]
        for row in rows
    ]
    libraries = listed(f"{name} {version}" for name, version in results["peers"].items())
    words = (
        f"`{results['model']}`, panel `{results['panel']}` ({results['fingerprint'][:12]}), N = {results['num_images']}, seeds "
        f"{listed(results['seeds'])}, {results['real_images']} {results['split']} images, {libraries or 'no other library'}; "
        f"{results['machine']}, {results['threads']} threads, torch {results['torch']}. Milliseconds are processor time, "
        "pilots and decoding included, the mean over seeds beside the lowest and the highest; the machine was shared, which "
        "lengthens all of them."
    )
    return page(grid(head, lines), words)
