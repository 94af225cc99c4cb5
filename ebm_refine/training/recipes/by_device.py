"""A recipe that is another one on a CPU than on a GPU."""

from typing import Any, NamedTuple


class ByDevice(NamedTuple):
    """The same model's recipe for a CPU and, longer or wider, for a GPU."""

    cpu: Any
    gpu: Any

    @property
    def name(self) -> str:
        return self.gpu.name


def for_device(recipe: Any, device: str) -> Any:
    """The recipe for `device` ("cpu", "cuda", "cuda:1")."""
    if not isinstance(recipe, ByDevice):
        return recipe
    return recipe.cpu if device == "cpu" else recipe.gpu
