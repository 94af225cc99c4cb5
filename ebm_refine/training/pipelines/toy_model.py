"""From a toy recipe to a finished model of points: a GAN, a WGAN-GP, an energy, or a GAN beside an energy.

`Toy` is one of them in training. The command line runs it to its end; the page watches it and may stop it at any time.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ebm_refine.energies.density_ratio import LogRatio, fit_calibration, ratio_report
from ebm_refine.models.checkpoint import Checkpoint, Part, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks import build
from ebm_refine.models.networks.mlp import MLPDiscriminator
from ebm_refine.models.ratio_file import weights_hash
from ebm_refine.toy2d.datasets import BOX, FAMILIES, TITLES, law, load_points
from ebm_refine.training.algorithms.contrastive_divergence import EnergyRecipe
from ebm_refine.training.algorithms.plane_energy import train_energy
from ebm_refine.training.algorithms.plane_games import train_gan, train_joint, train_ratio, train_wgan
from ebm_refine.training.algorithms.plane_loop import Blur, NoiseLevels, PlaneRecipe
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.updates import Progress, Watched

LATENT = 2
DATA_POINTS, REPORT_POINTS, BOUND_POINTS = 50_000, 10_000, 100_000
UNSEEN_SEED = 500_000
UNCLIPPED = 1e6
LEVELS = NoiseLevels()
# Of the Fourier features of whatever scores points. The sharpest modes are a hundredth of the box wide: without waves of their
# scale a score stays blunt; and a log ratio must be as sharp as the data, where its generator is not.
FREQUENCIES = {"gan": 7, "wgan": 5, "ebm": 5, "gan-ebm": 5}


class ToySettings(NamedTuple):
    """`steps` updates of the main phase; `widths` of every network; K = `mcmc_steps` Langevin steps of size `eps` an update.

    `eps` None is half the square of the data's width: one step's noise is then smaller than the data's width, and chains are
    far from where Langevin turns unstable. `ratio_steps` updates then teach a log ratio for the averaged generator, on batches
    of `ratio_batch` points of data, with `odds` generated points for each. Of the persistent chains a share `fresh` begins anew
    in an update, and of an energy's data a share `tails` stays blurred (`plane_loop.Blur`). Families without chains ignore K,
    eps and both shares.
    """

    steps: int
    widths: tuple[int, ...] = (128, 128, 128)
    mcmc_steps: int = 20
    eps: float | None = None
    ratio_steps: int = 3000
    ratio_batch: int = 512
    odds: int = 1
    fresh: float = 0.02
    tails: float = 0.02


class ToyModel(NamedTuple):
    """A model of `family` of the plane's data set `dataset`; a job's `steps` are those of the main phase."""

    dataset: str
    family: str
    settings: ToySettings

    @property
    def name(self) -> str:
        return f"toy-{self.dataset}-{self.family}"


class Toy:
    """A model `family` of `dataset` in training. `phases` are to be run in order; `checkpoint` is the model as it stands.

    `levels` is the noise on what the discriminator of a vanilla GAN sees, beside an energy or not.
    """

    def __init__(
        self,
        dataset: str,
        family: str,
        settings: ToySettings,
        seed: int = 0,
        run: Run | None = None,
        levels: NoiseLevels = LEVELS,
    ):
        self.dataset, self.family, self.seed = dataset, family, seed
        self.settings, self.run, self.levels = settings, run, levels
        self.eps = settings.eps or round(law(dataset).width ** 2 / 2, 6)
        self.blur = Blur(law(dataset).width, tails=settings.tails)
        self.data = load_points(dataset, DATA_POINTS, seed)
        self.networks = self._networks()
        phases: dict[str, Callable[[], Iterable[Progress]]] = {
            "gan": self._gan, "wgan": self._wgan, "ebm": self._energy, "gan-ebm": self._joint,
        }  # fmt: skip
        self.phases = {"main": phases[family]} | ({"ratio": self._ratio} if family in ("gan", "wgan") else {})

    def train(self) -> Iterator[tuple[str, Progress]]:
        """Every phase in turn, each from where the run left it; yields where it is at every few hundred steps."""
        for name, phase in self.phases.items():
            for progress in phase():
                yield name, progress

    def parts(self) -> dict[str, Part]:
        """What ships, as it stands: averaged networks where there are averages."""
        settings, networks = self.settings, self.networks
        generator = ("mlp-generator", _generator_arguments(settings.widths))
        scorer = ("mlp-discriminator", _scorer_arguments(self.family, settings.widths))
        if self.family == "ebm":
            return {"energy": Part(*scorer, networks["average_energy"])}
        parts = {"generator": Part(*generator, networks["average"])}
        if self.family == "gan-ebm":
            return parts | {"energy": Part(*scorer, networks["average_energy"])}
        if self.family == "gan":
            return parts | {"discriminator": Part(*scorer, networks["ratio"])}
        return parts | {role: Part(*scorer, networks[role]) for role in ("discriminator", "ratio")}

    def config(self) -> dict[str, Any]:
        """The checkpoint's config without training record and measurements."""
        config: dict[str, Any] = {
            "kind": "points",
            "title": f"{FAMILIES[self.family]} of {TITLES[self.dataset]}",
            "data": {"shape": [2], "range": [-BOX, BOX], "dataset": self.dataset},
            "discriminator_output": {"gan": "logit", "wgan": "critic"}.get(self.family, "energy"),
            "defaults": _defaults(self.family, self.settings.mcmc_steps, self.eps),
        }
        if self.family != "ebm":
            config["prior"] = {"name": "normal", "dim": LATENT}
        return config

    def checkpoint(self) -> Checkpoint:
        """The model as it stands, in memory: copies that further training does not change."""
        parts = self.parts()
        entries = {
            role: {"architecture": part.architecture, "arguments": part.arguments, "sha256": weights_hash(part.network)}
            for role, part in parts.items()
        }
        networks = {role: copy.deepcopy(part.network).eval().requires_grad_(False) for role, part in parts.items()}
        name = f"toy-{self.dataset}-{self.family}"
        return Checkpoint(name, Path(), {**self.config(), "parts": entries}, networks)

    def _networks(self) -> dict[str, nn.Module]:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            generator = build("mlp-generator", _generator_arguments(self.settings.widths))
            arguments = _scorer_arguments(self.family, self.settings.widths)
            scorers = {name: build("mlp-discriminator", arguments) for name in ("discriminator", "ratio", "energy")}
            if self.family in ("gan", "gan-ebm"):
                conditioned = {**_scorer_arguments("gan", self.settings.widths), "shape": [3]}
                scorers["discriminator"] = build("mlp-discriminator", conditioned)
        networks = {"generator": generator, "average": copy.deepcopy(generator), **scorers}
        networks["average_energy"] = copy.deepcopy(scorers["energy"])
        return networks

    def _gan(self) -> Iterator[Progress]:
        networks = {name: self.networks[name] for name in ("generator", "discriminator", "average")}
        for progress in train_gan(networks, self._game(), self.levels, self.data, self.seed, self.run):
            self._take_over()
            yield progress

    def _take_over(self) -> None:
        """Let the ratio be D at the lowest level of noise."""
        # Its third input is then a constant, so what the first layer makes of it is a part of the bias.
        conditioned, logit = (cast(MLPDiscriminator, self.networks[name]) for name in ("discriminator", "ratio"))
        (of_conditioned, of_logit), level = (
            (cast(nn.Linear, network.main[0]) for network in (conditioned, logit)),
            torch.zeros(1, 3),
        )
        level[0, 2] = float(self.levels.coordinate(torch.tensor(self.levels.last)))
        with torch.no_grad():
            for taken, given in zip(logit.parameters(), conditioned.parameters(), strict=True):
                if taken.shape == given.shape:
                    taken.copy_(given)
            weight, features = of_conditioned.weight.unflatten(1, (-1, 3)), conditioned.features(level)[0].unflatten(0, (-1, 3))
            of_logit.weight.copy_(weight[..., :2].flatten(1))
            of_logit.bias.copy_(of_conditioned.bias + weight[..., 2] @ features[:, 2])

    def _wgan(self) -> Watched:
        recipe = PlaneRecipe(self.settings.steps, critic_steps=5, penalty=0.1, betas=(0.0, 0.9))
        networks = {name: self.networks[name] for name in ("generator", "discriminator", "average")}
        return train_wgan(networks, recipe, self.data, self.seed, self.run)

    def _ratio(self) -> Watched:
        # Of a vanilla GAN, D goes on alone against the averaged generator that ships; a critic is no logit, so one is taught.
        if self.family == "gan":
            self._take_over()
        networks = {"generator": self.networks["average"], "ratio": self.networks["ratio"]}
        recipe = PlaneRecipe(self.settings.ratio_steps, batch_size=self.settings.ratio_batch, rate=2e-3, betas=(0.9, 0.999))
        run = self.run and self.run.part("ratio")
        return train_ratio(networks, recipe, self.data, self.seed + 1, run, self.settings.odds)

    def _energy(self) -> Watched:
        networks = {name: self.networks[name] for name in ("energy", "average_energy")}
        recipe = PlaneRecipe(self.settings.steps, batch_size=512, rate=2e-3, betas=(0.0, 0.99))
        return train_energy(networks, recipe, self._chains(), self.blur, self.data, self.seed, self.run)

    def _joint(self) -> Watched:
        names = ("generator", "discriminator", "average", "energy", "average_energy")
        networks = {name: self.networks[name] for name in names}
        # At twice the rate the energy of the ring, whose modes are the sharpest, ran away from the data in two runs of five.
        energy = PlaneRecipe(self.settings.steps, batch_size=256, rate=1e-3, betas=(0.0, 0.99))
        return train_joint(
            networks, self._game(), self.levels, energy, self._chains(), self.blur, self.data, self.seed, self.run
        )

    def _game(self) -> PlaneRecipe:
        return PlaneRecipe(self.settings.steps, batch_size=1024, rate=2e-3, generator_share=0.25)

    def _chains(self) -> EnergyRecipe:
        """How chains move: at temperature 1, so that exp(-E) is the law that is learned, up to the bias of the step."""
        return EnergyRecipe(
            epochs=0, alpha=1e-3, chain_steps=self.settings.mcmc_steps, eps=self.eps, temperature=1.0, clip=UNCLIPPED,
            bounds=(-BOX, BOX), fresh=self.settings.fresh,
        )  # fmt: skip


def toy_model(job: Job, recipe: ToyModel) -> None:
    """Train a model to a finished checkpoint in `job.folder`; resumable."""
    dataset, family, name = recipe.dataset, recipe.family, recipe.name
    settings = recipe.settings if job.steps is None else recipe.settings._replace(steps=job.steps)
    model = Toy(dataset, family, settings, job.seed, job.run)
    reached, words = settings.steps, {}
    for phase, progress in model.train():
        reached = progress.step if phase == "main" else reached
        stopped = {"stopped": progress.stopped} if progress.stopped else {}
        if stopped:
            print(f"{name}: {progress.stopped}")
            words = stopped
        # Where the phase's state counts the lines: another run's log would lose them when the run goes on after a kill.
        run = job.run if phase == "main" else job.run.part(phase)
        run.log(phase=phase, step=progress.step, **progress.numbers, **stopped)
    parts = model.parts()
    for part in parts.values():
        part.network.eval().requires_grad_(False)
    config = {**model.config(), **_report(parts, dataset, family, job.seed)}
    if family == "gan":
        config["defaults"]["rejection"]["log_bound"] = log_bound(parts, job.seed)
    config["training"] = {
        **record(name, job, reached, "updates", model.data),
        "widths": list(settings.widths),
        **({"mcmc_steps": settings.mcmc_steps, "eps": model.eps} if "energy" in parts else {}),
        **({"ratio_steps": settings.ratio_steps} if "ratio" in model.phases else {}),
        **words,
    }
    save_checkpoint(job.folder, config, parts, model_card({**config, "name": name}))


@torch.no_grad()
def _report(parts: dict[str, Part], dataset: str, family: str, seed: int) -> dict[str, Any]:
    """How good the ratios are: on new data and new generated points, of which one half fits the calibration."""
    if family not in ("gan", "wgan"):
        return {}
    real = load_points(dataset, REPORT_POINTS, UNSEEN_SEED + 1)
    source = torch.Generator().manual_seed(seed + UNSEEN_SEED)
    fake = parts["generator"].network(torch.randn(REPORT_POINTS, LATENT, generator=source))
    half = REPORT_POINTS // 2
    scores = [parts["discriminator"].network(points) for points in (real, fake)]
    calibration = fit_calibration(scores[0][:half], scores[1][:half])
    calibrated = LogRatio(nn.Identity(), **calibration)
    reported: dict[str, list[Tensor]] = {"raw": scores, "calibrated": [calibrated(score) for score in scores]}
    if "ratio" in parts:
        reported["refitted"] = [parts["ratio"].network(points) for points in (real, fake)]
    report = {name: ratio_report(on_real[half:], on_fake[half:]) for name, (on_real, on_fake) in reported.items()}
    return {"calibration": calibration, "ratio_report": report}


@torch.no_grad()
def log_bound(parts: dict[str, Part], seed: int) -> float:
    """The largest log ratio among many fakes: the smaller pilot of a run misses the peaks of modes that the generator thins."""
    source = torch.Generator().manual_seed(seed + UNSEEN_SEED + 1)
    batches = torch.randn(BOUND_POINTS, LATENT, generator=source).split(REPORT_POINTS)
    generator, discriminator = parts["generator"].network, parts["discriminator"].network
    return round(max(float(discriminator(generator(latents)).max()) for latents in batches), 4)


def _defaults(family: str, mcmc_steps: int, eps: float) -> dict[str, Any]:
    """With what a model is sampled where nothing else is asked for."""
    chains = {"eps": eps, "n_steps": mcmc_steps}
    if family == "ebm":
        # Chains begin in noise here, so they need to be longer than those of training, which go on where they were.
        long = {**chains, "n_steps": 1000}
        return {"method": "short-run", "short-run": {**long, "temperature": 1.0, "clip": UNCLIPPED}, "langevin": long}
    if family == "gan-ebm":
        # The generator is an average of those of training, and its points lie a little farther off.
        return {"method": "langevin", "langevin": {**chains, "n_steps": 10 * mcmc_steps}}
    if family == "wgan":
        return {"method": "rejection", "ratio": "refitted", "rejection": {"n_steps": 200}}
    # Its points are blurred: where modes are narrow, one in some hundreds passes.
    return {"method": "rejection", "ratio": "raw", "rejection": {"n_steps": 10_000}}


def _generator_arguments(widths: tuple[int, ...]) -> dict[str, Any]:
    return {"latent": LATENT, "widths": list(widths), "shape": [2], "activation": "silu", "output": "linear"}


def _scorer_arguments(family: str, widths: tuple[int, ...]) -> dict[str, Any]:
    waves = {"frequencies": FREQUENCIES[family], "half_period": 2 * BOX}
    return {"widths": list(widths), "shape": [2], "activation": "silu", **waves}
