"""Logistic regression by Newton's method, for benchmarks that set generated features against real ones."""

import torch
from torch import Tensor

NEWTON_STEPS = 25


def logistic(rows: Tensor, is_real: Tensor, ridge: float, share: Tensor | None = None) -> Tensor:
    """The weights (d,) that minimise sum(share * cross-entropy) + ridge |w|² / 2 over rows (N, d) float64; is_real (N,) 0 or 1.

    `share` (N,) weighs the rows; None: 1 each.
    """
    weights, penalty = torch.zeros(rows.shape[1], dtype=rows.dtype), ridge * torch.eye(rows.shape[1], dtype=rows.dtype)
    share = torch.ones(len(rows), dtype=rows.dtype) if share is None else share
    for _ in range(NEWTON_STEPS):
        odds = (rows @ weights).sigmoid()
        curvature = (rows * (share * odds * (1 - odds))[:, None]).T @ rows + penalty
        weights = weights + torch.linalg.solve(curvature, rows.T @ (share * (is_real - odds)) - ridge * weights)
    return weights
