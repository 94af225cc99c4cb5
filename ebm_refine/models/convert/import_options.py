"""What a state dict does not state and an import assumes: each assumption has an option that changes it."""

from dataclasses import dataclass, replace
from typing import Any

from ebm_refine.errors import InputError
from ebm_refine.models.kinds import MAX_LABELS
from ebm_refine.models.networks.activations import NAMES, SLOPE
from ebm_refine.models.networks.residual_gan import POOLINGS, UPSAMPLINGS
from ebm_refine.parameters import Parameter, shorten

EPS = 1e-5  # of nn.BatchNorm
CHOICES = {
    "activation": NAMES,
    "d_activation": NAMES,
    "g_output": ("tanh", "sigmoid"),
    "prior": ("normal", "uniform"),
    "output": ("logit", "critic", "energy", "inverted"),
    "g_labels": ("first", "last"),
    "d_labels": ("first", "last"),
    "upsampling": UPSAMPLINGS,
    "d_pooling": POOLINGS,
}
# Options that only residual networks have, and those that they lack.
RESIDUAL = ("upsampling", "d_pooling", "halvings")
NOT_RESIDUAL = ("activation", "d_activation", "slope", "g_output", "g_labels", "d_labels", "classes")
_SLOPE = Parameter("slope", "float", SLOPE, 0.0, 1.0)
_EPS = Parameter("norm_eps", "float", EPS, 1e-12, 10.0)
_CLASSES = Parameter("classes", "int", 0, 2, MAX_LABELS)
_HALVINGS = Parameter("halvings", "int", 0, 1, 8)


@dataclass(frozen=True)
class ImportOptions:
    """How to interpret a pair's files. `g_output` "sigmoid": the images were in [0, 1] for both networks.

    `classes`: one-hot labels of so many classes join the latent; 0: none, or those of a table in the file. `g_labels`,
    `d_labels`: whether the label stands before or after the latent or image, "" the family's default. `halvings`: blocks of a
    residual discriminator that halve the side; 0: as its layers suggest.
    """

    activation: str = "relu"
    d_activation: str = "leaky"
    slope: float = SLOPE
    norm_eps: float = EPS
    g_output: str = "tanh"
    prior: str = "normal"
    output: str = "logit"
    classes: int = 0
    g_labels: str = ""
    d_labels: str = ""
    upsampling: str = "bilinear"
    d_pooling: str = "sum"
    halvings: int = 0

    @classmethod
    def of(cls, **given: Any) -> "ImportOptions":
        """The options given, each value checked; None is the default assumption. Raises InputError."""
        known = {name: value for name, value in given.items() if value is not None}
        for name, allowed in CHOICES.items():
            if name in known and known[name] not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; got {shorten(known[name])}")
        for row in (_SLOPE, _EPS, _CLASSES, _HALVINGS):
            if row.name in known:
                value = known[row.name]
                known[row.name] = row.parse_text(value) if isinstance(value, str) else row.parse(value)
        return cls(**known)

    def changed(self, **values: Any) -> "ImportOptions":
        return replace(self, **values)

    def generator_arguments(self) -> dict[str, Any]:
        """Arguments of a generator's architecture; the family's defaults are left out."""
        return _changed(
            {"activation": (self.activation, "relu"), "output": (self.g_output, "tanh")}, self.activation, self.slope
        )

    def discriminator_arguments(self) -> dict[str, Any]:
        coding = "unit" if self.g_output == "sigmoid" else "signed"
        named = {"activation": (self.d_activation, "leaky"), "coding": (coding, "signed")}
        return _changed(named, self.d_activation, self.slope)

    def described(self) -> list[str]:
        """The assumptions in words, each with the option that changes it."""
        slope = f" with slope {self.slope:g} (--slope)"
        return [
            f"generator: {self.activation}{slope if self.activation == 'leaky' else ''} (--activation), "
            f"{self.g_output} last (--g-output), so images in {'[0, 1]' if self.g_output == 'sigmoid' else '[-1, 1]'}",
            f"discriminator: {self.d_activation}{slope if self.d_activation == 'leaky' else ''} (--d-activation), a final "
            f"sigmoid left out, its output read as {self.output} (--output)",
            f"batch norms with eps {self.norm_eps:g} (--norm-eps); latents {self.prior} (--prior)",
        ]


# Real images decide between these; each changes one or two options.
def alternatives(options: ImportOptions, family: str = "", labelled: bool = False) -> dict[str, ImportOptions]:
    """Other options for the generator of a pair, by their command-line form."""
    found: dict[str, ImportOptions] = {}
    if family == "residual":
        prior, upsampling = ({"normal": "uniform", "uniform": "normal"}[options.prior],
                             {"bilinear": "nearest", "nearest": "bilinear"}[options.upsampling])  # fmt: skip
        return {
            f"--prior {prior}": options.changed(prior=prior),
            f"--upsampling {upsampling}": options.changed(upsampling=upsampling),
        }
    if labelled:
        found |= {f"--g-labels {side}": options.changed(g_labels=side) for side in CHOICES["g_labels"]}
    for name in ("relu", "leaky", "elu"):
        if name != options.activation:
            found[f"--activation {name}"] = options.changed(activation=name)
    for prior in CHOICES["prior"]:
        if prior != options.prior:
            found[f"--prior {prior}"] = options.changed(prior=prior)
            for name in ("relu", "leaky"):
                if name != options.activation:
                    found[f"--activation {name} --prior {prior}"] = options.changed(prior=prior, activation=name)
    output = "sigmoid" if options.g_output == "tanh" else "tanh"
    found[f"--g-output {output}"] = options.changed(g_output=output)
    if options.norm_eps == EPS:
        found["--norm-eps 0.8"] = options.changed(norm_eps=0.8)
        found["--norm-eps 0.8 --activation leaky"] = options.changed(norm_eps=0.8, activation="leaky")
    return found


def _changed(named: dict[str, tuple[str, str]], activation: str, slope: float) -> dict[str, Any]:
    given: dict[str, Any] = {name: value for name, (value, usual) in named.items() if value != usual}
    if activation == "leaky" and slope != SLOPE:
        given["slope"] = slope
    return given
