"""One settings object, and the one table of rows from which page, command line, API, links and validation come."""

from dataclasses import dataclass, field, replace
from typing import Any

from ebm_refine.energies.density_ratio import RATIOS, available_ratios
from ebm_refine.energies.labels import check_label
from ebm_refine.errors import InputError
from ebm_refine.models.kinds import law_of
from ebm_refine.parameters import Parameter, shorten
from ebm_refine.samplers import METHODS, Method

MAX_IMAGES = 50_000

COMMON = (
    Parameter("num_images", "int", 64, 1, MAX_IMAGES, unit="images", help="how many images to refine"),
    Parameter("seed", "int", 0, 0, 2**32 - 1, help="image i depends on the seed and i alone"),
    Parameter("ratio", "choice", "auto", choices=("auto", *RATIOS), help="the log ratio r to sample; auto: the model's best"),
    Parameter("beta", "float", 1.0, 0.0, 100.0, help="weight of r in the energy; 0 is the generator itself"),
)
_EPS = Parameter("eps", "float", None, 1e-9, 10.0)
# Rows of the methods that are settings of their own; every other row of a method is an option.
MAIN = ("eps", "n_steps", "temperature")


@dataclass(frozen=True)
class Settings:
    """Everything that a run depends on, checked. Build it with `resolve`; `as_dict` round-trips through JSON."""

    model: str
    method: str
    num_images: int
    seed: int
    ratio: str
    beta: float
    values: dict[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    label: int | None = None

    @property
    def n_steps(self) -> int:
        return self.values["n_steps"]

    def changed(self, **values: Any) -> "Settings":
        """These settings with other values of `num_images`, `seed`, or parameters of the method, each checked against its row.

        Raises InputError, as `resolve` does, for a value out of range. Model, method, ratio and beta depend on one another and
        on the checkpoint, so they are no names here: settle them with `resolve`.
        """
        own = {row.name: row for row in METHODS[self.method].parameters}
        free = {row.name: row for row in COMMON if row.name in ("num_images", "seed")}
        for name in values:
            if name not in own and name not in free:
                raise InputError(f"only {', '.join([*free, *own])} can be changed here; got {shorten(name)}")
        parsed = {name: row.parse(values[name]) for name, row in {**free, **own}.items() if name in values}
        common = {name: value for name, value in parsed.items() if name in free}
        return replace(self, **common, values={name: parsed.get(name, value) for name, value in self.values.items()})

    def as_dict(self) -> dict[str, Any]:
        """The arguments of `refine` that repeat this run."""
        main = {name: self.values[name] for name in MAIN if name in self.values}
        options = {name: value for name, value in self.values.items() if name not in MAIN}
        return {
            "model": self.model,
            "method": self.method,
            **main,
            "num_images": self.num_images,
            "seed": self.seed,
            "ratio": self.ratio,
            "beta": self.beta,
            "options": options,
            **({} if self.label is None else {"label": self.label}),
        }


def resolve(
    model: str,
    config: dict[str, Any],
    *,
    method: str | None = None,
    eps: float | None = None,
    n_steps: int | None = None,
    num_images: int = 64,
    seed: int = 0,
    ratio: str | None = "auto",
    beta: float = 1.0,
    temperature: float | None = None,
    options: dict[str, Any] | None = None,
    label: int | None = None,
) -> Settings:
    """Check every value against its row and fill what is None from the checkpoint's defaults, then from the row.

    Raises InputError, one sentence with the value and the allowed range, at the first value that does not fit.
    """
    chosen = method_for(model, config, method)
    given = {"eps": eps, "n_steps": n_steps, "temperature": temperature}
    if options is not None and not isinstance(options, dict):
        raise InputError(f"options must be an object of names and values; got {shorten(options)}")
    if options and "label" in options:  # where only options travel, as over HTTP, the class is one of them
        asked, options = options["label"], {name: value for name, value in options.items() if name != "label"}
        if label is not None and asked is not None and asked != label:
            raise InputError(f"label is given twice, as {shorten(label)} and in options as {shorten(asked)}")
        label = asked if label is None else label
    for name, value in (options or {}).items():
        if name in MAIN or name not in chosen.uses:
            names = ", ".join(sorted(chosen.uses.difference(MAIN))) or "none"
            raise InputError(f"option {shorten(name)} is not one of method {chosen.name!r}; its options are: {names}")
        given[name] = value
    defaults = config.get("defaults", {}).get(chosen.name, {})
    values = {}
    for row in chosen.parameters:
        value = given.pop(row.name, None)
        values[row.name] = row.parse(defaults.get(row.name, row.default) if value is None else value)
    if given.get("temperature") is not None:
        raise InputError(f"method {chosen.name!r} has no temperature; leave it out (got {shorten(temperature)})")
    # One eps serves every method on the page and in the API, so a method that ignores it gives a note, not an error.
    ignored = tuple(name for name, value in given.items() if value is not None and _EPS.parse(value))
    common = {row.name: row for row in COMMON}
    present = available_ratios(config)
    ratio = common["ratio"].parse("auto" if ratio is None else ratio)
    beta = common["beta"].parse(beta)
    if law_of(config) != "pair":
        if ratio != "auto" or beta != 1.0:
            given_instead = f"ratio {ratio!r}" if ratio != "auto" else f"beta {beta:g}"
            raise InputError(f"model {model!r} has no log ratio: ratio must be auto and beta 1; got {given_instead}")
    elif ratio == "auto":
        ratio = config.get("defaults", {}).get("ratio", present[-1] if present else "raw")
    elif ratio not in present:
        raise InputError(f"ratio must be one of auto, {', '.join(present)} for model {model!r}; got {ratio!r}")
    return Settings(
        model=model,
        method=chosen.name,
        num_images=common["num_images"].parse(num_images),
        seed=common["seed"].parse(seed),
        ratio=ratio,
        beta=beta,
        values=values,
        ignored=ignored,
        label=check_label(model, config, label),
    )


def method_for(model: str, config: dict[str, Any], method: str | None) -> Method:
    """The method's row; None is the model's default. Raises InputError for an unknown or an incompatible one."""
    fitting = methods_of(config)
    if not fitting and law_of(config) == "pair":
        raise InputError(f"model {model!r} has no score yet: give it a discriminator, or fit a ratio with fit_ratio")
    if not fitting:
        raise InputError(f"model {model!r} is of kind {config['kind']!r} and cannot be refined")
    if method is None:
        method = config.get("defaults", {}).get("method", fitting[0])
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}; got {shorten(method)}")
    if method not in fitting and config.get("no_gradient") and not METHODS[method].gradient_free:
        raise InputError(f"method {method!r} follows gradients, but {config['no_gradient']}; use {', '.join(fitting)}")
    if method not in fitting and law_of(config) == "pair" and METHODS[method].gaussian_prior and not _is_gaussian(config):
        raise InputError(f"method {method!r} needs a normal or a uniform prior; use {', '.join(fitting)}")
    if method not in fitting:
        raise InputError(f"method {method!r} does not work on a model of kind {config['kind']!r}; use {', '.join(fitting)}")
    return METHODS[method]


def methods_of(config: dict[str, Any]) -> tuple[str, ...]:
    """The names of the methods that work on a model with this config."""
    law = law_of(config)
    if law == "pair" and not available_ratios(config):
        return ()  # a generator of one's own that has no score yet
    fitting = tuple(name for name, method in METHODS.items() if law in method.kinds)
    if law == "pair" and config.get("no_gradient"):
        fitting = tuple(name for name in fitting if METHODS[name].gradient_free)
    if law == "pair" and not _is_gaussian(config):
        fitting = tuple(name for name in fitting if not METHODS[name].gaussian_prior)
    return fitting


def _is_gaussian(config: dict[str, Any]) -> bool:
    """Whether positions of a pair are standard normal a priori: latents that are uniform are carried as normal ones."""
    return config.get("prior", {}).get("name", "normal") in ("normal", "uniform")
