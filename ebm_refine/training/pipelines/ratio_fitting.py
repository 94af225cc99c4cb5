"""From a generator of one's own and real samples to a log ratio that can be sampled, and a report whether to believe it."""

import contextlib
import hashlib
import io
import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.data.images import Images
from ebm_refine.data.real_images import real_images
from ebm_refine.energies.density_ratio import fit_calibration, fit_isotonic, raw_slope
from ebm_refine.energies.own_target import generated
from ebm_refine.errors import InputError
from ebm_refine.metrics.own_checks import other_prior, see_that_real_tells
from ebm_refine.models.checkpoint import Part
from ebm_refine.models.pair import Pair
from ebm_refine.models.ratio_file import REAL_RATIOS, attached
from ebm_refine.parameters import Parameter, shorten
from ebm_refine.training.algorithms.ratio_learning import Sides
from ebm_refine.training.common.ratio_verdict import full_report, in_words
from ebm_refine.training.common.scores import STORED_RATIOS, Halves, calibrate_last_layer, scores_of
from ebm_refine.training.pipelines.own_bodies import BODIES, body_for, fitted
from ebm_refine.utils.devices import check_device

STEPS = Parameter("steps", "int", None, 1, 1_000_000)
SEED = Parameter("seed", "int", 0, 0, 2**31 - 1)
# Fewer real samples leave a holdout that tells nothing.
LEAST, MOST = 200, 200_000
# The generator gives as many samples as are wanted; more than the real ones keep the ratio from learning them by heart.
LEAST_POOL, MOST_POOL = 5000, 50_000
HOLDOUT_SHARE = 10
POOL_SEED, HOLDOUT_SEED, WEIGHED_SEED = 1_000_003, 1_000_004, 1_000_005
# Generated samples on which the weights exp(r) are judged.
WEIGHED = 2000


def fit_ratio(
    pair: Pair,
    real: Any,
    *,
    body: str | None = None,
    steps: int | None = None,
    progress: bool = True,
    seed: int = 0,
    device: str = "cpu",
    runs: str | Path | None = None,
) -> Pair:
    """Fit log p_data / p_gen of a pair's generator to real samples; returns the pair with that ratio, "refitted", its default.

    pair: what `ebm_refine.pair` gave; it needs no discriminator. real: see `data.real_images.real_images`: arrays, (array,
    labels), a folder of pictures, parquet files or a Hub data set. 200 samples at the least.
    body: the network that sees a sample: "classifier" (features that a classifier of the labels learns; the default where there
    are labels), "contrastive" (features learned without; the default without labels from 32 pixels on), "cnn" (a network
    fitted directly; the default for smaller images), "mlp" (vectors). steps: batches of the fit; None: the body's own number.
    A tenth of the real samples is held out. Half of it stops the fit; all of it calibrates r, and reports, each half under
    the other one's calibration. The report is in `config["ratio_report"]["refitted"]`, in words under "verdict", which
    `progress` also prints. An interrupted fit continues when the same call is made again; `runs` is the folder of its
    state (None: the system's temporary folder).

    Density ratio estimation by classification: Sugiyama et al. 2012; in feature space: Ding et al. 2020 (arXiv 1909.10670).
    Raises InputError for samples that do not fit the generator's, and for a body that does not fit them.
    """
    if not isinstance(pair, Pair):
        raise InputError(f"fit_ratio takes what ebm_refine.pair gives; got {shorten(pair)}")
    steps, seed, device = STEPS.parse(steps), SEED.parse(seed), check_device(device)
    shape = tuple(pair.config["data"]["shape"])
    given: Any = pair.networks["generator"]
    images = real_images(real, shape, given.value_range or (-1.0, 1.0), limit=MOST)
    if len(images.pixels) < LEAST:
        raise InputError(
            f"a ratio is fitted to at least {LEAST} real samples, of which a tenth is held out; got {len(images.pixels)}"
        )
    see_that_real_tells(pair, images)
    chosen = body_for(shape, images.labels, body)
    folder = _run_folder(pair, images, (chosen, steps, seed, device), runs)
    if doubt := other_prior(pair, images, device):
        warnings.warn(doubt, stacklevel=2)
    with contextlib.redirect_stderr(sys.stderr if progress else io.StringIO()):
        if progress:
            print(f"fit-ratio: {BODIES[chosen]}, {len(images.pixels)} real samples", file=sys.stderr)
        sides = _sides(pair, images, seed, device)
        part, measured = fitted(chosen, sides, shape, steps, folder, seed, device)
    made = _reported(
        pair, part, sides, {"recipe": "fit-ratio", "body": chosen, "seed": seed, "real": len(images.pixels), **measured}
    )
    if progress:
        print(f"fit-ratio: {made.config['ratio_report']['refitted']['verdict']}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    return made


def _sides(pair: Pair, images: Images, seed: int, device: str) -> Sides:
    """Training and holdout of both laws; which real samples are held out depends on their number alone."""
    count = len(images.pixels)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    edge = count - max(count // HOLDOUT_SHARE, 20)
    train, holdout = (
        Images(images.pixels[rows], None if images.labels is None else images.labels[rows])
        for rows in (order[:edge], order[edge:])
    )
    pool = generated(pair, min(max(edge, LEAST_POOL), MOST_POOL), seed + POOL_SEED, device)
    return Sides(train, pool, holdout, generated(pair, count - edge, seed + HOLDOUT_SEED, device))


def _reported(pair: Pair, part: Part, sides: Sides, training: dict[str, Any]) -> Pair:
    """Calibrate the network of `part` in place, report on it and on the pair's own score, and join it to the pair."""
    network: Any = part.network
    last = network.ratio.last if part.architecture == "smaller-ratio" else network.last
    half = len(sides.fakes) // 2
    scores = Halves(_scores(network, sides.holdout.pixels), _scores(network, sides.fakes))
    reported = crossed(scores)
    calibration = calibrate_last_layer(network, last, scores)
    own = calibration["slope"] * scores.on_real + calibration["intercept"]
    weighed = generated(pair, WEIGHED, training["seed"] + WEIGHED_SEED)
    report = full_report(*reported, _scores(network, weighed))
    entries: dict[str, Any] = {
        "ratio_report": {"refitted": {**report, "verdict": in_words(report)}},
        "training": {"ratio": training},
    }
    tables: dict[str, Tensor] = {}
    if "discriminator" in pair.networks and not pair.config.get("labels"):
        more, tables = _of_own_score(pair, sides, weighed)
        entries["ratio_report"] |= more.pop("ratio_report")
        entries |= more
    made = attached(pair, part, entries, own[half:][:STORED_RATIOS])
    made.tables[REAL_RATIOS].update(tables)
    return made


def crossed(scores: Halves) -> Halves:
    """Scores calibrated by the other half each: what is reported was not fitted to, and none of the holdout is lost.

    A calibration by half of a few hundred samples hangs on single ones: on 250 digits a side, two halves gave slopes of 0.76
    and 1.16.
    """
    parts = scores.fitting, scores.reporting
    lines = [fit_calibration(*part) for part in reversed(parts)]
    mended = [[line["slope"] * side + line["intercept"] for side in part] for part, line in zip(parts, lines, strict=True)]
    return Halves(*(torch.cat(sides) for sides in zip(*mended, strict=True)))


def _of_own_score(pair: Pair, sides: Sides, weighed: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Calibrations of the pair's own score, with reports. Warns where it is lower on real samples than on generated ones."""
    score, scale, half = pair.networks["discriminator"], raw_slope(pair.config), len(sides.fakes) // 2
    raw = Halves(*(scale * _scores(score, side) for side in (sides.holdout.pixels, sides.fakes)))
    calibration = fit_calibration(raw.on_real[:half], raw.on_fake[:half])
    free = scale * _scores(score, weighed)
    report = full_report(raw.on_real[half:], raw.on_fake[half:], free)
    reports = {"raw": {**report, "verdict": in_words(report)}}
    stored = {"raw": raw.on_real[half:][:STORED_RATIOS].contiguous()}
    if calibration["slope"] <= 0:
        output = pair.config["discriminator_output"]
        other = {"logit": "inverted", "critic": "energy", "energy": "critic", "inverted": "logit"}[output]
        warnings.warn(
            f"the discriminator, read as {output}, gives real samples lower values than generated ones (calibration slope "
            f"{calibration['slope']:.2f}): its sign is turned; give output={other!r}",
            stacklevel=4,
        )
        return {"ratio_report": reports}, stored
    mended = Halves(*(calibration["slope"] * side[half:] + calibration["intercept"] for side in raw))
    report = full_report(mended.on_real, mended.on_fake, calibration["slope"] * free + calibration["intercept"])
    reports["calibrated"] = {**report, "verdict": in_words(report)}
    stored["calibrated"] = mended.on_real[:STORED_RATIOS].contiguous()
    entries = {"calibration": calibration, "isotonic": fit_isotonic(raw.on_real[:half], raw.on_fake[:half])}
    return {**entries, "ratio_report": reports}, stored


def _scores(network: nn.Module, samples: Tensor) -> Tensor:
    """(N,) of images uint8 or vectors float32."""
    if samples.ndim == 4:
        return scores_of(network, samples)
    with torch.no_grad():
        return torch.cat([network(part).float() for part in samples.split(1024)])


def _run_folder(pair: Pair, images: Images, settings: tuple[Any, ...], runs: str | Path | None) -> Path:
    """The folder of this fit's state: the same for the same generator, samples and settings."""
    digest = hashlib.sha256(json.dumps([pair.config["parts"]["generator"]["sha256"], *settings], default=str).encode())
    digest.update(images.pixels.contiguous().numpy().tobytes())
    if images.labels is not None:
        digest.update(images.labels.numpy().tobytes())
    folder = Path(runs or Path(tempfile.gettempdir()) / "ebm_refine-fits") / f"ratio-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"runs {str(folder.parent)!r} cannot hold the fit's state: {error.strerror}; name a folder") from None
    return folder
