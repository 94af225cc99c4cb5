"""About how long a run takes on a small processor, known before it begins: what it evaluates, and what an evaluation costs.

The unit is a pass of one image through the networks, in floating-point operations; a backward pass counts as one more. Networks
run in batches, and every operator of a batch takes a little time however few images are in it: so a model whose classes
are sampled apart takes longer.
"""

from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ebm_refine.energies.fixed_width import CHUNK
from ebm_refine.energies.labels import label_count, labels_of
from ebm_refine.energies.targets import target_of
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.method import Passes
from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.settings import Settings

# Of a core that is busy with other work, in float32: these estimate `energy_and_grad` of 1, 16 and 64 images of the embedded
# models, from faces to energies of digits, within a factor of two.
OPERATIONS_PER_SECOND, SECONDS_PER_OPERATOR = 6e10, 3e-5
# Loading, pictures and measuring; passes of an image for its energy before and after and its two pictures.
START_SECONDS, REPORT_PASSES = 2.0, 4
# Before the classes' small batches run at a width of their own, it is compared with a full one (`energies.fixed_width`).
COMPARING_PASSES = 2500


class RunTime(NamedTuple):
    """Seconds that a run takes: once, and for each image."""

    start: float
    image: float

    def seconds(self, images: int) -> float:
        return self.start + images * self.image

    def images_within(self, seconds: float) -> int:
        """The most images that take no longer than `seconds`; 0 where not even one does."""
        return max(0, int((seconds - self.start) / self.image))


def run_time(checkpoint: Checkpoint, settings: Settings) -> RunTime:
    """The estimate for `settings`, whatever their number of images, of a model of images whose method counts its passes.

    Raises ValueError for a method without such a cost.
    """
    method = METHODS[settings.method]
    if method.cost is None:
        raise ValueError(f"method {method.name!r} has no cost in passes through networks")
    cost = method.cost(settings.values)
    image, pilot = _passes(cost.start) + settings.n_steps * _passes(cost.step), _passes(method.pilot_cost(settings.values))
    operations, operators = a_pass(checkpoint, settings)
    a_batch = operators * SECONDS_PER_OPERATOR
    one = operations / OPERATIONS_PER_SECOND + a_batch / CHUNK["cpu"]
    classes = max(1, label_count(checkpoint.config)) if settings.label is None else 1
    comparing = COMPARING_PASSES * one if classes > 1 else 0.0
    return RunTime(START_SECONDS + comparing + classes * (pilot * one + image * a_batch), (image + REPORT_PASSES) * one)


def a_pass(checkpoint: Checkpoint, settings: Settings) -> tuple[int, int]:
    """Floating-point operations of one image's energy, where a multiplication and an addition are two, and operators called."""
    index = torch.arange(1)
    labels = labels_of(checkpoint.config, settings.seed, index, settings.label)
    target: Any = target_of(checkpoint, settings.ratio, settings.beta, labels=labels)
    target = target.batches[0].target if labels is not None else target
    position = target.start(Draws(settings.seed, index, 0), Stream.INIT)
    with _Counting() as counted, torch.no_grad():
        target.differentiable_energy(position)
    return counted.operations, counted.operators


def _passes(passes: Passes) -> float:
    return passes.forwards + passes.gradients


class _Counting(TorchDispatchMode):
    """Counts what is called: convolutions and matrix products by their operations. (`torch.utils.flop_counter` counts the same,
    and takes a tenth of a second to import, which the page's start has not.)"""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.operators = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.operators += 1
        if function is torch.ops.aten.convolution.default:
            given, weight, transposed = args[0], args[1], args[6]
            places = given if transposed else result
            self.operations += 2 * weight.numel() * len(places) * places[0, 0].numel()
        elif function in (torch.ops.aten.addmm.default, torch.ops.aten.mm.default, torch.ops.aten.bmm.default):
            first, second = args[-2:]
            self.operations += 2 * first.numel() * second.shape[-1]
        return result
