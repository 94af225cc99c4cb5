"""What kinds of models there are, and by which law each is sampled.

A law is "pair" (latents under a prior and a log ratio), "energy" (an energy of the data themselves, chains begin in noise) or
"joint" (the same energy, chains begin in a generator's samples). A model of points is any of these, as its parts tell. A
Boltzmann machine "rbm" or a belief network "dbn" has a law of bits, in its top machine; chains begin in the tosses of a coin.
"""

from typing import Any

MAX_LABELS = 2**16
KINDS = ("pair", "energy", "joint", "rbm", "dbn", "points", "features")
_ROLES = {
    "pair": ("generator", "discriminator"),
    "energy": ("energy",),
    "joint": ("generator", "energy"),
    "rbm": ("energy",),
    "dbn": ("energy",),
    "features": ("features",),
}


def law_of(config: dict[str, Any]) -> str:
    """The law of a model with this config; of points by their parts, else the kind itself."""
    if config["kind"] != "points":
        return config["kind"]
    if "energy" not in config["parts"]:
        return "pair"
    return "joint" if "generator" in config["parts"] else "energy"


def needed_roles(config: dict[str, Any]) -> tuple[str, ...]:
    """The roles of the networks without which a model with this config cannot be used."""
    return _ROLES.get(law_of(config), ())


def are_labels(labels: Any) -> bool:
    """Whether this is the `labels` entry of a model with classes: {count, probabilities?, names?}."""
    if not isinstance(labels, dict) or not labels.keys() <= {"count", "probabilities", "names"}:
        return False
    count = labels.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= MAX_LABELS:
        return False
    shares, names = labels.get("probabilities"), labels.get("names")
    if shares is not None:
        if not isinstance(shares, list) or len(shares) != count:
            return False
        if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
            return False
    return names is None or (isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names))


def is_binary(config: dict[str, Any]) -> bool:
    """Whether positions are bits: chains are Gibbs chains, and there is no gradient to follow."""
    return config["kind"] in ("rbm", "dbn")


def is_points(config: dict[str, Any]) -> bool:
    """Whether samples are points (N, d) float32 rather than images (N, C, H, W) uint8."""
    return config["kind"] == "points"
