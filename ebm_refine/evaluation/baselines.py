"""Samples of the baselines that need no chain: the prior truncated, and the best of n draws by the log ratio."""

from typing import Any

import torch
from torch import Tensor

from ebm_refine.energies.density_ratio import available_ratios
from ebm_refine.energies.targets import target_of
from ebm_refine.evaluation.best_of import BestOf, best_of
from ebm_refine.evaluation.truncation import Truncation, truncated
from ebm_refine.models.checkpoint import Checkpoint


def drawn(
    checkpoint: Checkpoint, job: Truncation | BestOf, device: str, dtype: torch.dtype
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Samples of a pair before and after, and what was spent on them, as a sampler's diagnostics."""
    index = torch.arange(job.num_images, device=device)
    if isinstance(job, Truncation):
        target = target_of(checkpoint, available_ratios(checkpoint.config)[0], device=device, dtype=dtype)
        latents = target.init(job.seed, index)
        return target.decode(latents), target.decode(truncated(latents, job.threshold)), {}
    pair: Any = target_of(checkpoint, job.ratio, device=device, dtype=dtype)
    start, best = best_of(pair, job.seed, index, job.tries)
    spent = {"forwards_per_image": job.tries, "gradients_per_image": 0}
    ratios = {f"mean_ratio_{name}": float(pair.log_ratio(one).mean()) for name, one in (("before", start), ("after", best))}
    return pair.decode(start), pair.decode(best), {**ratios, **spent}
