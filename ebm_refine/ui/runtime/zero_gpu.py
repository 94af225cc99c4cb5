"""Running on a Hugging Face Space: on ZeroGPU a GPU is borrowed call by call, for a time that is to be said beforehand."""

from collections.abc import Callable
from typing import Any, TypeVar

from ebm_refine.settings import Settings
from ebm_refine.ui.runtime import limits

# Fork, weights to the device, pilot, pictures and metrics; then a generous second for a thousand image-steps. Short requests
# wait less in ZeroGPU's queue and cost less of a visitor's quota, so the cap is for the largest run that the page allows.
START_SECONDS = 15
SECONDS_PER_IMAGE_STEP = 1e-3
MAX_SECONDS = 120

F = TypeVar("F", bound=Callable[..., Any])


def seconds_for(settings: Settings) -> int:
    """How long a run with these settings may take on a borrowed GPU: whole seconds from 15 to 120."""
    asked = limits.work_of(settings) if isinstance(settings, Settings) else settings.num_images * settings.n_steps
    return min(MAX_SECONDS, START_SECONDS + round(asked * SECONDS_PER_IMAGE_STEP))


def borrows_gpu(work: F) -> F:
    """Decorate `work(settings, …)`, a function or generator, as one that needs the GPU; unchanged anywhere but on ZeroGPU.

    There it runs in a forked process: its arguments and what it gives back must be picklable and on the CPU.
    """
    try:
        import spaces  # only Spaces have it
    except ImportError:
        return work
    return spaces.GPU(duration=lambda settings, *args, **kwargs: seconds_for(settings))(work)
