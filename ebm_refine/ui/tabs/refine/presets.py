"""Named settings to start from: the checkpoint's own, and the experiments that are known for a data set."""

from typing import Any

from ebm_refine.catalogue import ModelInfo

RECOMMENDED = "Recommended for this model"
METHOD = "langevin"
# data set -> (N, the values of eps) of the known sweeps
SWEEPS: dict[str, tuple[tuple[int, tuple[float, ...]], ...]] = {
    "cifar10": ((10, (1e-1, 1e-3, 1e-5, 1e-7)), (15, (1e-7,))),
    "celeba": ((20, (1e-1, 1e-3, 1e-5, 1e-7)), (50, (1e-7,))),
}
# model -> its side of the known experiment on digits; without the energy every image is the generator's.
DIGITS: dict[str, dict[str, dict[str, Any]]] = {
    "mnist-gan": {"MNIST without an EBM: the generator alone": {"method": "rejection", "beta": 0.0, "n_steps": 1}},
    "mnist-gan-ebm": {"MNIST with an EBM: K = 240 steps from the generator's digits": {"method": "short-run", "n_steps": 240}},
}
WALKS = {"Gentle walk": (150, 1e-4), "Extreme walk": (150, 1e-1)}


def presets(model: ModelInfo) -> dict[str, dict[str, Any]]:
    """The presets of a model: title -> arguments of `refine`; what they leave out is the checkpoint's default."""
    found: dict[str, dict[str, Any]] = {RECOMMENDED: {}}
    found |= DIGITS.get(model.name, {})
    if METHOD in model.methods:
        for n_steps, values in SWEEPS.get(model.dataset, ()):
            for eps in values:
                found[f"N = {n_steps}, eps = {eps:.0e}".replace("e-0", "e-")] = _langevin(n_steps, eps)
        if model.kind == "pair":
            for title, (n_steps, eps) in WALKS.items():
                found[f"{title}: N = {n_steps}, eps = {eps:.0e}".replace("e-0", "e-")] = _langevin(n_steps, eps)
    return found


def _langevin(n_steps: int, eps: float) -> dict[str, Any]:
    return {"method": METHOD, "n_steps": n_steps, "eps": eps}
