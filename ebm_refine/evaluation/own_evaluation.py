"""`ebm_refine.evaluate`: methods on a model of one's own, measured against real samples of one's own."""

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ebm_refine.catalogue import load
from ebm_refine.data.real_images import real_images
from ebm_refine.errors import InputError
from ebm_refine.evaluation.jobs import evaluate as run_jobs
from ebm_refine.evaluation.jobs import plan
from ebm_refine.evaluation.tables import table
from ebm_refine.metrics.evaluator import Yardstick
from ebm_refine.metrics.own_yardstick import own_yardstick
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points
from ebm_refine.utils.devices import check_device

MOST_REAL = 50_000


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
    embedded data set, whose test images are stored. extractor: "auto", "inception" (FID and KID, from 2,048 images on either
    side) or a callable of uint8 images (B, C, H, W) that gives features (B, d).
    ratios: None for the model's default alone. settings: further arguments of `refine`, such as eps, n_steps and beta.
    out: folder of results, in which an interrupted evaluation goes on; None: the system's temporary folder.
    Returns {"rows": one for base and for each method, …} and prints the table with `progress`. Raises InputError, one sentence,
    for what does not fit.
    """
    checkpoint = load(model)
    if isinstance(methods, str):
        raise InputError(f"methods must be a list of names, such as ['langevin']; got {methods!r}")
    given = None if real is None else yardstick_for(checkpoint, real, extractor, check_device(device))
    jobs = plan(checkpoint, list(methods), num_images, list(seeds), list(ratios or ("auto",)), given=settings)
    folder = Path(out) if out is not None else Path(tempfile.gettempdir()) / "ebm_refine-evaluations" / checkpoint.name
    told = partial(print, file=sys.stderr, flush=True) if progress else lambda line: None
    results = run_jobs(checkpoint, jobs, folder, "test", device, told, precision=precision, yardstick=given)
    if progress:
        print(table(results), file=sys.stderr)
    return results


def yardstick_for(checkpoint: Checkpoint, real: Any, extractor: Any = "auto", device: str = "cpu") -> Yardstick:
    """The yardstick of real samples for a model. Raises InputError where they are not of its samples' shape."""
    shape = tuple(checkpoint.config["data"]["shape"])
    generator: Any = checkpoint.networks.get("generator")
    limits = getattr(generator, "value_range", None) or (-1.0, 1.0)
    samples: Tensor = real_images(real, shape, limits, split="test", limit=MOST_REAL).pixels
    if samples.ndim == 2 and not is_points(checkpoint.config):
        raise InputError(f"model {checkpoint.name!r} makes images; real is {tuple(samples.shape)}")
    return own_yardstick(samples, extractor, device)
