"""What one visitor may ask of the page and the API at once, so that the worst case stays bounded."""

from ebm_refine.errors import InputError
from ebm_refine.samplers import METHODS
from ebm_refine.settings import Settings

MAX_IMAGES = 256
MAX_WORK = 40_000
# A point costs next to nothing: what bounds such a run is its time, which is the same as for images.
MAX_POINTS = 1000
MAX_POINT_WORK = 10_000_000
# A step of bits is two small matrix products: some hundred thousand of them are a matter of seconds.
MAX_BITS_WORK = 400_000
MAX_SECONDS = 120
MAX_WAITING = 16


def check(settings: Settings) -> Settings:
    """Give the settings back if they fit. Raises InputError, one sentence that says how large they may be."""
    return _bounded(settings, MAX_IMAGES, most_work(settings))


def most_work(settings: Settings) -> int:
    """The most that images x steps may be."""
    return MAX_BITS_WORK if "dbn" in METHODS[settings.method].kinds else MAX_WORK


def check_points(settings: Settings) -> Settings:
    """The same for a model of points."""
    return _bounded(settings, MAX_POINTS, MAX_POINT_WORK)


def _bounded(settings: Settings, most: int, work: int) -> Settings:
    images, steps = settings.num_images, settings.n_steps
    if images > most:
        raise InputError(f"num_images must be a whole number from 1 to {most} here; got {images}")
    if images * steps > work:
        raise InputError(
            f"num_images x n_steps must be at most {work} here; got {images} x {steps} = {images * steps}, "
            f"so with {images} images n_steps may be at most {work // images}"
        )
    return settings


def too_slow() -> InputError:
    return InputError(f"the run was stopped after {MAX_SECONDS} seconds; ask for fewer images or steps")


def as_dict() -> dict[str, int]:
    """The limits as `/status` tells them."""
    return {
        "num_images": MAX_IMAGES,
        "num_points": MAX_POINTS,
        "num_images_times_n_steps": MAX_WORK,
        "num_images_times_n_steps_of_bits": MAX_BITS_WORK,
        "seconds": MAX_SECONDS,
        "waiting": MAX_WAITING,
    }
