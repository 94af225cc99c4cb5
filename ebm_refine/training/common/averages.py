"""The average of a network's weights over training: exponential, by PyTorch's own rule, batch-norm statistics included."""

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * network, in place; whole numbers, such as counts of batches, are copied."""
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    floats = [(old, new) for old, new in pairs if old.is_floating_point()]
    get_ema_multi_avg_fn(decay)([old for old, _ in floats], [new for _, new in floats], 0)
    for old, new in pairs:
        if not old.is_floating_point():
            old.copy_(new)


def follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """The same after update `step`; a young training forgets faster: decay (1 + step) / (10 + step) while that is smaller."""
    update_average(average, network, min(decay, (1 + step) / (10 + step)))
