"""A person's own callables as networks of a pair: called as they want to be, giving what the rest of the program expects.

The callables are held beside the module tree, not in it: they run on the device on which they are, in the number format that
they have; they are not moved, copied or cast unless asked. What goes in is moved to them, and what comes out is moved back.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def module_of(function: Any) -> nn.Module | None:
    """The module that is called: the callable itself, or the one of which it is a bound method; None for anything else."""
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def frozen(module: nn.Module) -> None:
    """Put a module into eval mode and freeze its parameters, one by one: a TorchScript module refuses `requires_grad_`."""
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


class OwnNetwork(nn.Module):
    """A callable of (x) or (x, labels) without a module tree; `takes_labels` says which."""

    def __init__(self, function: Callable[..., Any], takes_labels: bool):
        super().__init__()
        # In a tuple, where nn.Module does not look for submodules.
        self.held = (function,)
        self.takes_labels = takes_labels

    def settled(self, device: str | None = None) -> "OwnNetwork":
        """The same, its module in eval mode and frozen, and on `device` where one is named."""
        module = module_of(self.held[0])
        if module is not None:
            frozen(module)
            if device is not None:
                module.to(device)
        return self

    def called(self, given: Tensor, labels: tuple[Tensor, ...]) -> Tensor:
        """What the callable gives, as a float32 tensor on the device of `given`.

        It gets a copy, since it may write into its input: chains and samples stay unchanged.
        """
        (function,) = self.held
        module = module_of(function)
        parameter = None if module is None else next(iter([*module.parameters(), *module.buffers()]), None)
        if parameter is not None:
            given_there, labels = given.to(parameter.device), tuple(one.to(parameter.device) for one in labels)
            if parameter.is_floating_point() and parameter.dtype in (torch.float64, torch.float16, torch.bfloat16):
                given_there = given_there.to(parameter.dtype)
        else:
            given_there = given
        result = function(given_there.clone() if given_there is given else given_there, *labels)
        if isinstance(result, np.ndarray | np.generic):
            result = torch.as_tensor(np.asarray(result))
        if not isinstance(result, Tensor):
            several = isinstance(result, tuple | list) and any(isinstance(one, Tensor) for one in result)
            remedy = ": give a function that takes the tensor out of it" if several or isinstance(result, dict) else ""
            raise TypeError(f"it returns {type(result).__name__}, not a tensor{remedy}")
        return result.to(device=given.device, dtype=torch.float32)


class OwnGenerator(OwnNetwork):
    """Latents (B, d), and labels (B,) -> images (B, C, H, W) in [-1, 1], or vectors (B, d) as they are.

    The callable is given latents of `latent`, its own shape, and its images lie in `value_range`; None leaves values alone.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        latent: tuple[int, ...],
        value_range: tuple[float, float] | None,
        takes_labels: bool = False,
    ):
        super().__init__(function, takes_labels)
        self.shape, self.value_range = latent, value_range

    def forward(self, latents: Tensor, *labels: Tensor) -> Tensor:
        samples = self.called(latents.unflatten(1, self.shape), labels)
        if self.value_range in (None, (-1.0, 1.0)):
            return samples
        low, high = self.value_range
        return (samples - low) * (2 / (high - low)) - 1


class OwnScore(OwnNetwork):
    """Images (B, C, H, W) in [-1, 1] or vectors (B, d), and labels (B,) -> one number each (B,)."""

    def __init__(self, function: Callable[..., Any], value_range: tuple[float, float] | None, takes_labels: bool = False):
        super().__init__(function, takes_labels)
        self.value_range = value_range

    def forward(self, samples: Tensor, *labels: Tensor) -> Tensor:
        if self.value_range not in (None, (-1.0, 1.0)):
            low, high = self.value_range
            samples = (samples + 1) * ((high - low) / 2) + low
        scores = self.called(samples, labels)
        if scores.numel() != len(samples):
            raise ValueError(f"it gives {tuple(scores.shape)} for {len(samples)} samples, where one number each is needed")
        return scores.reshape(len(samples))


class OwnPrior(nn.Module):
    """A law of latents: `sample` maps standard normal noise (B, *latent) to latents, `log_density` latents to (B,).

    Both are seen flat, (B, d). The log density may lack a constant.
    """

    def __init__(self, sample: Callable[[Tensor], Tensor], log_density: Callable[[Tensor], Tensor], latent: tuple[int, ...]):
        super().__init__()
        self.held, self.shape = (sample, log_density), latent

    def sample(self, noise: Tensor) -> Tensor:
        return self.held[0](noise.unflatten(1, self.shape)).to(torch.float32).flatten(1)

    def log_density(self, latents: Tensor) -> Tensor:
        return self.held[1](latents.unflatten(1, self.shape)).to(torch.float32).reshape(len(latents))
