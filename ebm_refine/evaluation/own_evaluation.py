"""`ebm_refine.evaluate`: methods on a model of one's own, measured against real samples of one's own."""

import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebm_refine.catalogue import load
from ebm_refine.data.images import Images
from ebm_refine.data.real_images import real_images
from ebm_refine.energies.labels import labels_of
from ebm_refine.energies.targets import target_of
from ebm_refine.errors import InputError
from ebm_refine.evaluation.evidence import panel_table
from ebm_refine.evaluation.jobs import Job, plan
from ebm_refine.evaluation.jobs import evaluate as run_jobs
from ebm_refine.evaluation.tables import table
from ebm_refine.metrics.evaluator import Evaluator
from ebm_refine.metrics.filter_bank import LEAST_SIDE
from ebm_refine.metrics.own_checks import other_prior, see_that_real_is_preferred, see_that_real_tells
from ebm_refine.metrics.own_evaluator import EMBEDDED, own_evaluator
from ebm_refine.metrics.panel import LEAST_IMAGES
from ebm_refine.metrics.panel_kinds import borrowed_kinds, kinds_of
from ebm_refine.metrics.panel_store import LEAST_REAL, MOST_DAMAGED, Panel, panel_of
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points
from ebm_refine.models.pair import Pair
from ebm_refine.utils.devices import check_device

MOST_REAL = 50_000
# The base's samples on which a kind's right to vote is tested; no run begins with this seed's.
BASE, BASE_SEED = MOST_DAMAGED // 2, 1_000_006


def evaluate(
    model: str | Path | Checkpoint,
    *,
    methods: Sequence[str],
    real: Any = None,
    extractor: Any = "auto",
    num_images: int = 2000,
    seeds: Sequence[int] = (0,),
    ratios: Sequence[str] | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
    precision: str = "auto",
    progress: bool = True,
    **settings: Any,
) -> dict[str, Any]:
    """Run `methods` on `num_images` samples of a model and measure them, before and after, against real ones.

    model: what `ebm_refine.pair` gave, or a model's name. real: as for `fit_ratio` (arrays, a folder, parquet files, a Hub data
    set), of the very size and coding of the model's samples, and none that its ratio was fitted to; None for a model of an
    embedded data set, whose test images are stored. With `label` among the settings, those of that class are taken.
    extractor: "auto", "inception" (FID and KID, from 2,048 images on either side) or a callable of uint8 images (B, C, H, W)
    that gives features (B, d). "auto" measures images in an embedded extractor's features where one takes their size, else in
    8x8 pixels; and from 600 real images and 256 generated ones on the kinds of features that fit their size and channels give a
    verdict (`metrics.panel`), each voting only where, on these real images, it orders graded damage.
    ratios: None for the model's default alone. settings: further arguments of `refine`, such as eps, n_steps and beta.
    out: folder of results, in which an interrupted evaluation continues; None: the system's temporary folder.
    Returns {"rows": one for base and for each method, …} and prints the table with `progress`. Raises InputError, one sentence,
    for what does not fit.
    """
    checkpoint = load(model)
    if isinstance(methods, str):
        raise InputError(f"methods must be a list of names, such as ['langevin']; got {methods!r}")
    device_name = check_device(device)
    jobs = plan(checkpoint, list(methods), num_images, list(seeds), list(ratios or ("auto",)), given=settings)
    folder = Path(out) if out is not None else Path(tempfile.gettempdir()) / "ebm_refine-evaluations" / checkpoint.name
    log: Callable[[str], None] = partial(print, file=sys.stderr, flush=True) if progress else lambda line: None
    if real is None and isinstance(checkpoint, Pair):
        raise InputError(
            f"no data set is stored for {checkpoint.name!r}, a model of your own: give real samples, --real (in Python real=)"
        )
    given, panel = (None, None) if real is None else measuring(checkpoint, real, extractor, jobs, device_name, log)
    results = run_jobs(
        checkpoint, jobs, folder, "test", device_name, log, precision=precision, evaluator=given, panel=panel or False
    )
    if progress:
        print(table(results), file=sys.stderr)
        if panel is not None:
            print(panel_table(results["panel"]), file=sys.stderr)
    return results


def measuring(
    checkpoint: Checkpoint, real: Any, extractor: Any, jobs: Sequence[Job], device: str, log: Callable[[str], None]
) -> tuple[Evaluator, Panel | None]:
    """The evaluator of the jobs' samples, and with "auto" the panel that judges images; `log` says why there is none.

    Raises InputError where the real samples are not of the model's samples' shape, for too few of them, and where a raw score
    that is to be used ranks generated samples above them. Warns where another prior would bring a pair much nearer to them.
    """
    shape = tuple(checkpoint.config["data"]["shape"])
    generator: Any = checkpoint.networks.get("generator")
    limits = getattr(generator, "value_range", None) or (-1.0, 1.0)
    found = real_images(real, shape, limits, split="test", limit=MOST_REAL)
    see_that_real_tells(checkpoint, found)
    label = getattr(jobs[0], "label", None)  # a further setting, and so the same in all jobs
    if label is not None:
        found = _of_class(found, label)
    samples = found.pixels
    if samples.ndim == 2 and not is_points(checkpoint.config):
        raise InputError(f"model {checkpoint.name!r} makes images; real is {tuple(samples.shape)}")
    evaluator = own_evaluator(samples, extractor, device)
    if isinstance(checkpoint, Pair):
        if any(job.ratio == "raw" for job in jobs):
            see_that_real_is_preferred(checkpoint, found, device)
        if doubt := other_prior(checkpoint, found, device):
            warnings.warn(doubt, stacklevel=3)
    if samples.ndim == 2 or extractor != "auto":
        return evaluator, None
    images = min(sum(job.num_images for job in jobs if job.method == one.method) for one in jobs)
    if len(samples) < LEAST_REAL or images < LEAST_IMAGES:
        log(
            f"no verdict by kinds of features: it needs {LEAST_REAL} real images and --num-images {LEAST_IMAGES} (in Python "
            f"num_images=); got {len(samples)} and {images}"
        )
        return evaluator, None
    kinds = kinds_of(EMBEDDED[shape]) if shape in EMBEDDED else borrowed_kinds()
    kinds = tuple(kind for kind in kinds if kind.name != "filter bank" or min(shape[1:]) >= LEAST_SIDE)
    log(f"testing which of {len(kinds)} kinds of features may vote on these images")
    return evaluator, panel_of(samples, _base(checkpoint, jobs[0].ratio, device, label), kinds=kinds)


def _of_class(real: Images, label: int) -> Images:
    """The real samples of one class, to which samples of that class are compared. Raises InputError where none is known."""
    if real.labels is None:
        raise InputError(f"samples of class {label} alone are compared to real ones of that class: give real with labels")
    rows = real.labels == label
    if not rows.any():
        raise InputError(f"no real sample has label {label}: give some, or leave the label out")
    return Images(real.pixels[rows], real.labels[rows])


def _base(checkpoint: Checkpoint, ratio: str, device: str, label: int | None) -> Tensor:
    """Images (BASE, C, H, W) uint8 of the model before any refinement."""
    index = torch.arange(BASE, device=device)
    labels = labels_of(checkpoint.config, BASE_SEED, index, label)
    target: Any = target_of(checkpoint, ratio, device=device, labels=labels)
    return target.decode(target.init(BASE_SEED, index)).cpu()
