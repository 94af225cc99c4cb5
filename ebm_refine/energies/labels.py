"""Class-conditional models: how a label travels.

A model with labels says so in its config, `"labels": {"count": 10}`, with `"probabilities"` where classes are not equally
likely and `"names"` for the page. Its networks that see the label have an attribute `takes_labels = True` and are called with
(x, labels), labels (B,) int64; others, such as a ratio of images alone, are called with x.

Chain i keeps its label for the whole run: the one requested, or one drawn by (seed, i) alone. The law that is sampled
is then that of each class by itself, p(x | y), with its own pilot, and samplers know nothing of labels: chains of one label are
a batch of an ordinary target, and `by_label` runs the batches in step.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ebm_refine.errors import InputError
from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Info, Kernel
from ebm_refine.samplers.rng import Draws, Stream


def label_count(config: dict[str, Any]) -> int:
    """How many classes a model tells apart; 0 for one without labels."""
    return int(config["labels"]["count"]) if config.get("labels") else 0


def label_parameter(config: dict[str, Any]) -> Parameter | None:
    """The row of a model's class, from which controls and links come; None for a model without classes."""
    count = label_count(config)
    return Parameter("label", "int", None, 0, count - 1, help="the class; empty: one for each image") if count else None


def check_label(model: str, config: dict[str, Any], label: Any) -> int | None:
    """`label` itself where the model has that class, None where none was requested. Raises InputError."""
    if label is None:
        return None
    count = label_count(config)
    if not count:
        raise InputError(f"model {model!r} has no classes: leave the label out; got {label!r}")
    return Parameter("label", "int", None, 0, count - 1).parse(label)


def labels_of(config: dict[str, Any], seed: int, index: Tensor, label: int | None = None) -> Tensor | None:
    """The labels (B,) int64 of the chains `index` (B,): `label` for all, or drawn; None for a model without classes."""
    count = label_count(config)
    if not count:
        return None
    if label is not None:
        return torch.full_like(index, label)
    probabilities = torch.tensor(config["labels"].get("probabilities") or [1 / count] * count, dtype=torch.float64)
    # The last edge is left out: rounding of the sum must not lead beyond the last class.
    edges = probabilities.cumsum(0)[:-1].float().to(index.device)
    return torch.bucketize(Draws(seed, index, 0).uniform((), Stream.LABEL), edges, right=True)


class GivenLabel(nn.Module):
    """A network that takes labels as one that is always given the same: x (B, …) -> network(x, labels)."""

    def __init__(self, network: nn.Module, label: int):
        super().__init__()
        self.network, self.label = network, label

    def forward(self, given: Tensor) -> Tensor:
        labels = torch.full((len(given),), self.label, dtype=torch.int64, device=given.device)
        return self.network(given, labels)


def given_label(networks: dict[str, nn.Module], label: int) -> dict[str, nn.Module]:
    """Networks by role, those that take labels with this one given."""
    return {
        role: GivenLabel(network, label) if getattr(network, "takes_labels", False) else network
        for role, network in networks.items()
    }


class Batch(NamedTuple):
    """The chains of one label: their indices `rows` (b,) among all, and their target."""

    rows: Tensor
    target: Any


class LabelledTarget:
    """The targets of several labels as one, for chains whose labels (B,) are known.

    Positions given to it are those of all chains, or of the first so many of them, in order. It serves what reports on a run;
    kernels are built for each batch (`by_label`).
    """

    def __init__(self, target_of_label: Callable[[int], Any], labels: Tensor):
        present = sorted(set(labels.tolist()))
        self.labels = labels
        self.batches = [Batch((labels == label).nonzero().squeeze(1), target_of_label(label)) for label in present]
        first = self.batches[0].target
        self.device, self.points, self.shape, self.bounds = first.device, first.points, first.shape, first.bounds
        self.no_gradient: str = first.no_gradient

    @property
    def forwards(self) -> int:
        return sum(batch.target.forwards for batch in self.batches)

    @property
    def gradients(self) -> int:
        return sum(batch.target.gradients for batch in self.batches)

    def init(self, seed: int, index: Tensor) -> Tensor:
        """Starting positions (B, d…), each from the prior of its own label."""
        return self.start(Draws(seed, index, 0), Stream.INIT)

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        return self._drawn("start", draws, stream)

    def prior(self, draws: Draws, block: int = 0) -> Tensor:
        """Fresh draws (B, d…), each from the prior of its own label."""
        return self._drawn("prior", draws, block)

    def prior_energy(self, position: Tensor) -> Tensor:
        return self._each("prior_energy", position)

    def log_ratio(self, position: Tensor) -> Tensor:
        return self._each("log_ratio", position)

    def energy(self, position: Tensor) -> Tensor:
        return self._each("energy", position)

    def decode(self, position: Tensor) -> Tensor:
        return self._each("decode", position)

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        found = [batch.target.energy_and_grad(position[rows]) for rows, batch in self._within(len(position))]
        energy, grad = (self._merged(list(column), len(position)) for column in zip(*found, strict=True))
        return energy, grad

    def _drawn(self, name: str, draws: Draws, which: Stream | int) -> Tensor:
        found = [getattr(batch.target, name)(draws._replace(index=draws.index[batch.rows]), which) for batch in self.batches]
        return self._merged(found, len(draws.index))

    def _each(self, name: str, position: Tensor) -> Tensor:
        parts = [getattr(batch.target, name)(position[rows]) for rows, batch in self._within(len(position))]
        return self._merged(parts, len(position))

    def _within(self, count: int) -> list[tuple[Tensor, Batch]]:
        found = [(batch.rows[batch.rows < count], batch) for batch in self.batches]
        return [(rows, batch) for rows, batch in found if len(rows)]

    def _merged(self, parts: list[Tensor], count: int) -> Tensor:
        return merged(parts, [rows.to(parts[0].device) for rows, _ in self._within(count)])


def merged(parts: Sequence[Any], rows: Sequence[Tensor]) -> Any:
    """Tensors (b, …) of batches of chains as one (B, …), each row at its index; NamedTuples of them field by field."""
    if parts[0] is None:
        return None
    if isinstance(parts[0], tuple):
        fields: Any = type(parts[0])
        return fields(*(merged(column, rows) for column in zip(*parts, strict=True)))
    return torch.cat(list(parts))[torch.argsort(torch.cat(list(rows)))]


def taken(state: Any, rows: Tensor) -> Any:
    """The rows (b,) of a state or info: of every tensor in it."""
    if isinstance(state, tuple):
        fields: Any = type(state)
        return fields(*(taken(one, rows) for one in state))
    return None if state is None else state[rows]


def by_label(target: LabelledTarget, kernel_of: Callable[[Any], Kernel]) -> Kernel:
    """One kernel of all chains, of the kernels that `kernel_of(target)` builds for each label's batch.

    States and infos are NamedTuples with a leading chain axis, so that they can be taken apart and put together by rows.
    """
    batches = target.batches
    rows = [batch.rows for batch in batches]
    kernels = [kernel_of(batch.target) for batch in batches]

    def init(position: Tensor) -> Any:
        return merged([kernel.init(position[mine]) for kernel, mine in zip(kernels, rows, strict=True)], rows)

    def step(state: Any, draws: Draws) -> tuple[Any, Info]:
        parts = [
            kernel.step(taken(state, mine), draws._replace(index=draws.index[mine]))
            for kernel, mine in zip(kernels, rows, strict=True)
        ]
        return merged([state for state, _ in parts], rows), merged([info for _, info in parts], rows)

    def finished(state: Any) -> bool:
        return all(kernel.finished(taken(state, mine)) for kernel, mine in zip(kernels, rows, strict=True))

    def summary(state: Any) -> dict[str, float | str]:
        parts = [(kernel.summary(taken(state, mine)), len(mine)) for kernel, mine in zip(kernels, rows, strict=True)]
        return joined_summaries(parts)

    return Kernel(init, step, finished, summary)


# What a summary counts is added up over labels; everything else that is a number is averaged over chains.
COUNTS = ("diverged", "proposals", "exceedances", "budget_exhausted", "never_moved", "fallbacks", "unfinished",
          "nonfinite_proposals")  # fmt: skip


def joined_summaries(parts: Sequence[tuple[Any, int]]) -> dict[str, float | str]:
    """The summaries of batches of so many chains as one; what is no number is that of the first batch."""
    joined: dict[str, Any] = {}
    for name in dict.fromkeys(name for summary, _ in parts for name in summary):
        found = [(summary[name], count) for summary, count in parts if name in summary]
        if any(not isinstance(value, int | float) for value, _ in found):
            joined[name] = found[0][0]
        elif name in COUNTS:
            joined[name] = sum(value for value, _ in found)
        else:
            joined[name] = sum(value * count for value, count in found) / sum(count for _, count in found)
    return joined
