"""The known experiments of the 2-D laboratory, each a model with settings and a sentence on what it shows."""

from typing import Any, NamedTuple

from ebm_refine.toy2d.datasets import TITLES


class Experiment(NamedTuple):
    """`arguments` are those of `refine` for `model`; `shows` is what one sees at seed 0."""

    title: str
    model: str
    arguments: dict[str, Any]
    shows: str


POINTS = 1000
# With a ratio of zero every proposal is accepted: the generator alone.
ALONE: dict[str, Any] = {"method": "rejection", "beta": 0.0, "n_steps": 1}


def _langevin(eps: float, n_steps: int, **more: Any) -> dict[str, Any]:
    return {"method": "langevin", "eps": eps, "n_steps": n_steps, **more}


EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        "Exact discriminator, a generator of one broad Gaussian: 25 Gaussians",
        "toy-grid25-exact",
        {"method": "i-sir", "n_steps": 60, "options": {"particles": 100}},
        "The generator draws from one broad Gaussian and has learned nothing. With an exact discriminator this is enough: "
        "all 25 modes are found, at the price of many proposals.",
    ),
    Experiment(
        "GAN alone: two moons",
        "toy-moons-gan",
        ALONE,
        "Nothing is refined here. Notice the stray points between the moons: the generator cannot avoid them.",
    ),
    # The model's own bound would reject most of what it must keep here.
    Experiment(
        "GAN alone: 25 Gaussians",
        "toy-grid25-gan",
        {**ALONE, "options": {"log_bound": 0.0}},
        "Nothing is refined here. This generator smears its points over the whole square: one in twenty lies close to a mode.",
    ),
    Experiment(
        "GAN with EBM: two moons, small step",
        "toy-moons-gan-ebm",
        _langevin(1e-4, 100),
        "Small steps change little: the thin curves grow as wide as the moons, and stray points leave the middle slowly.",
    ),
    Experiment(
        "GAN with EBM: two moons, the step of its training",
        "toy-moons-gan-ebm",
        _langevin(5e-3, 100),
        "The chains spread over the whole width of the moons and stay there.",
    ),
    Experiment(
        "GAN with EBM: two moons, large step",
        "toy-moons-gan-ebm",
        _langevin(0.1, 100),
        "This step is too large: its noise drives seven points of ten out of the window, and nothing brings them back.",
    ),
    Experiment(
        "GAN with EBM: two moons, very large step",
        "toy-moons-gan-ebm",
        _langevin(5.0, 100),
        "A step far too large: all but a few points leap out of the window.",
    ),
    Experiment(
        "GAN with EBM: swiss roll",
        "toy-swiss-gan-ebm",
        _langevin(5e-4, 100),
        "The roll's arms lie close together; the energy pulls points between them onto one or the other.",
    ),
    Experiment(
        "EBM alone: two moons from noise",
        "toy-moons-ebm",
        {},
        "No generator at all: chains begin anywhere in the box and slide onto the moons.",
    ),
    Experiment(
        "WGAN, rejection sampling: 25 Gaussians",
        "toy-grid25-wgan",
        {"method": "rejection", "ratio": "refitted", "n_steps": 200},
        "Nothing is moved: points of low score are thrown away and drawn anew. This discriminator has learned the five columns "
        "of the grid, not its rows: points between the columns go, those between the rows stay.",
    ),
    Experiment(
        "WGAN, Langevin in latent space: 25 Gaussians",
        "toy-grid25-wgan",
        _langevin(0.01, 100, ratio="refitted"),
        "Watch both windows: the latents move a little, and their points jump. All end in the two outer columns, where the "
        "score of this discriminator is highest, so 15 of the 25 modes are lost.",
    ),
    *(
        Experiment(
            f"Exact discriminator, wrong weights: {TITLES[dataset]}, {words}",
            f"toy-{dataset}-deficient",
            arguments,
            shows,
        )
        for dataset in ("grid25", "ring8")
        for words, arguments, shows in (
            (
                "Langevin fails",
                {"method": "langevin", "n_steps": 200},
                "Every point is of high quality, and the weights stay as wrong as they were: no path leads from mode to mode.",
            ),
            (
                "rejection succeeds",
                {"method": "rejection"},
                "Heavy modes are thinned by throwing points away; the weights come out even.",
            ),
            (
                "i-SIR succeeds",
                {"method": "i-sir", "n_steps": 60, "options": {"particles": 10}},
                "Chains jump to fresh points of high weight and need no path between the modes.",
            ),
        )
    ),
)
