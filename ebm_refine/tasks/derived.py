"""What laws that are made of another energy have in common with it."""

from typing import Any

import torch


class Derived:
    """A law over positions of `shape` (None: those of `inner`) that evaluates `inner`, and counts and lives where that does."""

    def __init__(self, inner: Any, shape: tuple[int, ...] | None = None):
        self.inner = inner
        self.shape: tuple[int, ...] = inner.shape if shape is None else shape
        self.bounds: tuple[float, float] = inner.bounds

    @property
    def device(self) -> torch.device:
        return self.inner.device

    @property
    def points(self) -> bool:
        return self.inner.points

    @property
    def forwards(self) -> int:
        """Positions evaluated so far by the innermost energy, over all callers."""
        return self.inner.forwards

    @forwards.setter
    def forwards(self, count: int) -> None:
        self.inner.forwards = count

    @property
    def gradients(self) -> int:
        """Those of them with their gradient."""
        return self.inner.gradients

    @gradients.setter
    def gradients(self, count: int) -> None:
        self.inner.gradients = count
