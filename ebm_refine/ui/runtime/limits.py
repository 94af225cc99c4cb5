"""What one visitor may ask of the page and the API at once, so that the worst case stays bounded."""

from ebm_refine.errors import InputError
from ebm_refine.samplers import METHODS
from ebm_refine.settings import Settings

MAX_IMAGES = 256
# Images x transitions x gradient evaluations of a transition, where it takes several.
MAX_WORK = 40_000
# A method that samples no pair asks an energy alone, without a generator, and its chains are long.
MAX_ENERGY_WORK = 80_000
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
    kinds = METHODS[settings.method].kinds
    if "dbn" in kinds:
        return MAX_BITS_WORK
    return MAX_WORK if "pair" in kinds else MAX_ENERGY_WORK


def check_points(settings: Settings) -> Settings:
    """The same for a model of points."""
    return _bounded(settings, MAX_POINTS, MAX_POINT_WORK)


def step_price(settings: Settings) -> float:
    """Gradient evaluations of an image at every transition, at least 1; a step of bits counts as one."""
    cost = METHODS[settings.method].cost
    return 1.0 if cost is None else max(1.0, cost(settings.values).step.evaluations)


def pilot_work(settings: Settings) -> float:
    """Gradient evaluations of the method's pilot; 0 where it learns nothing before it runs."""
    return METHODS[settings.method].pilot_cost(settings.values).evaluations


def work_of(settings: Settings) -> float:
    """Gradient evaluations of a whole run, pilot and all images."""
    return settings.num_images * settings.n_steps * step_price(settings) + pilot_work(settings)


def _bounded(settings: Settings, most: int, work: int) -> Settings:
    images, steps, price = settings.num_images, settings.n_steps, step_price(settings)
    if images > most:
        raise InputError(f"num_images must be a whole number from 1 to {most} here; got {images}")
    if images * steps * price > work:
        factor, why = ("", "") if price == 1 else (f" x {price:g}", f" (a step of {settings.method!r} costs {price:g})")
        allowed = int(work // (images * price))
        so = f"with {images} images n_steps may be at most {allowed}" if allowed else "a step must cost less"
        raise InputError(
            f"num_images x n_steps{factor} must be at most {work} here{why}; "
            f"got {images} x {steps}{factor} = {images * steps * price:.0f}, so {so}"
        )
    if pilot_work(settings) > work:
        raise InputError(
            f"tuning eps for steps that cost {price:g} gradient evaluations takes {pilot_work(settings):.0f} of them, and "
            f"at most {work} are allowed here: give eps, or make a step cost less"
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
