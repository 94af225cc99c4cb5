"""What a state dict does not tell, and how it is therefore read: each assumption has an option that changes it."""

from dataclasses import dataclass, replace
from typing import Any

from ebm_refine.errors import InputError
from ebm_refine.models.networks.activations import NAMES, SLOPE
from ebm_refine.parameters import Parameter, shorten

EPS = 1e-5  # of nn.BatchNorm
CHOICES = {
    "activation": NAMES,
    "d_activation": NAMES,
    "g_output": ("tanh", "sigmoid"),
    "prior": ("normal", "uniform"),
    "output": ("logit", "critic", "energy", "inverted"),
}
_SLOPE = Parameter("slope", "float", SLOPE, 0.0, 1.0)
_EPS = Parameter("norm_eps", "float", EPS, 1e-12, 10.0)


@dataclass(frozen=True)
class Reading:
    """How a pair's files are read. `g_output` "sigmoid" says that the images were in [0, 1] for both networks."""

    activation: str = "relu"
    d_activation: str = "leaky"
    slope: float = SLOPE
    norm_eps: float = EPS
    g_output: str = "tanh"
    prior: str = "normal"
    output: str = "logit"

    @classmethod
    def of(cls, **given: Any) -> "Reading":
        """The reading with what is given, each value checked; None leaves the assumption. Raises InputError."""
        known = {name: value for name, value in given.items() if value is not None}
        for name, allowed in CHOICES.items():
            if name in known and known[name] not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; got {shorten(known[name])}")
        for row in (_SLOPE, _EPS):
            if row.name in known:
                value = known[row.name]
                known[row.name] = row.parse_text(value) if isinstance(value, str) else row.parse(value)
        return cls(**known)

    def other(self, **values: Any) -> "Reading":
        return replace(self, **values)

    def generator_arguments(self) -> dict[str, Any]:
        """Arguments of a generator's architecture; those of the family's own reading are left out."""
        return _changed(
            {"activation": (self.activation, "relu"), "output": (self.g_output, "tanh")}, self.activation, self.slope
        )

    def discriminator_arguments(self) -> dict[str, Any]:
        coding = "unit" if self.g_output == "sigmoid" else "signed"
        named = {"activation": (self.d_activation, "leaky"), "coding": (coding, "signed")}
        return _changed(named, self.d_activation, self.slope)

    def told(self) -> list[str]:
        """The assumptions in words, each with the option that changes it."""
        slope = f" with slope {self.slope:g} (--slope)"
        return [
            f"generator: {self.activation}{slope if self.activation == 'leaky' else ''} (--activation), "
            f"{self.g_output} last (--g-output), so images in {'[0, 1]' if self.g_output == 'sigmoid' else '[-1, 1]'}",
            f"discriminator: {self.d_activation}{slope if self.d_activation == 'leaky' else ''} (--d-activation), a final "
            f"sigmoid left out, its output read as {self.output} (--output)",
            f"batch norms with eps {self.norm_eps:g} (--norm-eps); latents {self.prior} (--prior)",
        ]


# The readings that are tried where real images tell which one is right: one change at a time.
def alternatives(reading: Reading) -> dict[str, Reading]:
    """Other readings of the generator, by the options that ask for them."""
    found: dict[str, Reading] = {}
    for name in ("relu", "leaky", "elu"):
        if name != reading.activation:
            found[f"--activation {name}"] = reading.other(activation=name)
    for prior in CHOICES["prior"]:
        if prior != reading.prior:
            found[f"--prior {prior}"] = reading.other(prior=prior)
            for name in ("relu", "leaky"):
                if name != reading.activation:
                    found[f"--activation {name} --prior {prior}"] = reading.other(prior=prior, activation=name)
    output = "sigmoid" if reading.g_output == "tanh" else "tanh"
    found[f"--g-output {output}"] = reading.other(g_output=output)
    if reading.norm_eps == EPS:
        found["--norm-eps 0.8"] = reading.other(norm_eps=0.8)
        found["--norm-eps 0.8 --activation leaky"] = reading.other(norm_eps=0.8, activation="leaky")
    return found


def _changed(named: dict[str, tuple[str, str]], activation: str, slope: float) -> dict[str, Any]:
    given: dict[str, Any] = {name: value for name, (value, usual) in named.items() if value != usual}
    if activation == "leaky" and slope != SLOPE:
        given["slope"] = slope
    return given
