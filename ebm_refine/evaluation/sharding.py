"""One list of jobs shared by the processes of `accelerate launch --multi_gpu --num_processes N`, on GPUs or on CPUs alone.

Nothing is sent between processes: each takes its own part of the list, and results meet as files in one folder.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from ebm_refine.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Process `index` of `count`, and the device that it was given; None: it may choose."""

    index: int = 0
    count: int = 1
    device: str | None = None

    def of(self, items: Sequence[T]) -> list[T]:
        """Every `count`-th item from `index` on: disjoint between the processes, and together the whole list."""
        return list(items[self.index :: self.count])


def this_process() -> Share:
    """The share of this process: everything, unless it was started by `accelerate launch` with company.

    Raises InputError where it was, and the package accelerate is missing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Share()
    try:
        from accelerate import PartialState
    except ModuleNotFoundError:
        raise InputError(
            "sharing work between processes needs the package accelerate: pip install 'ebm-refine[shard]'"
        ) from None
    # Without this it would see no company on a machine without a GPU.
    state = PartialState(cpu=not torch.cuda.is_available())
    device = "cpu" if state.device.type == "cpu" else str(state.device)
    return Share(state.process_index, state.num_processes, device)
