"""The panel of a data set, from training images to a checkpoint: encoders, bases, references, and who may vote."""

from typing import Any, NamedTuple

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from ebm_refine.catalogue import load
from ebm_refine.data.images import load_images
from ebm_refine.metrics.panel_kinds import Kind, kinds_with
from ebm_refine.metrics.panel_rights import rights
from ebm_refine.metrics.principal_components import Basis, fit_basis
from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.autoencoder import AutoencoderDiscriminator
from ebm_refine.models.networks.encoder import ContrastiveEncoder
from ebm_refine.models.networks.panel_encoders import PanelEncoders
from ebm_refine.training.algorithms.reconstruction import AutoencoderRecipe, train_autoencoder
from ebm_refine.training.algorithms.simclr import ContrastiveRecipe, train_encoder
from ebm_refine.training.common.job import Job, record

# Seeds of the panel's encoders lie apart from those of the ratios' bodies, some of which are encoders of the same family.
CONTRASTIVE_SEED, AUTOENCODER_SEED = 7001, 7002
FITTED = 4000
STORED = {"test": 1000, "holdout": 400}
# Real images in the test of the right to vote; half of them are the reference.
TESTED = 3000
CLUSTERS = 10


class EvidencePanel(NamedTuple):
    """Encoders of several kinds, `PanelEncoders(**arguments)`, each trained on training images alone, then frozen.

    `steps` are batches of 128 for the contrastive encoder and of 64 for the autoencoder. `base` is the model whose samples the
    right to vote is tested with, and `tested` the split of the real images there.
    """

    name: str
    title: str
    dataset: str
    shape: list[int]
    arguments: dict[str, Any]
    steps: tuple[int, int]
    base: str
    tested: str = "holdout"
    notes: tuple[str, ...] = ()


def evidence_panel(job: Job, recipe: EvidencePanel) -> None:
    """Train the encoders and save them with all that a live measurement needs; bases are fitted to 4,000 training images."""
    splits = {split: load_images(recipe.dataset, job.data, split) for split in ("train", "holdout", "test")}
    train = splits["train"].pixels
    network, measures_of = trained(job, recipe, train)
    config: dict[str, Any] = {
        "kind": "features",
        "title": recipe.title,
        "data": {"shape": recipe.shape, "range": [-1, 1], "dataset": recipe.dataset},
        "training": {**record(recipe.name, job, job.steps or max(recipe.steps), "batches", train), **measures_of},
        "notes": list(recipe.notes),
    }
    part = Part("panel-encoders", recipe.arguments, network)
    save_checkpoint(job.folder, config, {"features": part}, "")
    # All that follows is of the stored half-precision weights.
    stored = load_checkpoint(job.folder)
    encoders = stored.networks["features"]
    assert isinstance(encoders, PanelEncoders)
    kinds = kinds_with(recipe.dataset, encoders, stored.hashes["features"])
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:FITTED]
    bases = {kind.name: fit_basis(kind.features(train[chosen])) for kind in kinds}
    tables: dict[str, dict[str, Tensor]] = {
        "bases": {
            **{f"{kind}.mean": basis.mean for kind, basis in bases.items()},
            **{f"{kind}.projection": basis.projection.half() for kind, basis in bases.items()},
        },
        **{
            f"panel-{split}": {
                kind.name: bases[kind.name].project(kind.features(splits[split].pixels[:count])).half() for kind in kinds
            }
            for split, count in STORED.items()
        },
    }
    real, labels = splits[recipe.tested].pixels[-TESTED:], splits[recipe.tested].labels
    classes = clusters(kinds, bases, real) if labels is None else labels[-TESTED:]
    generated = base_samples(recipe.base, TESTED // 2)
    config["rights"] = {kind.name: rights(kind.features, bases[kind.name], real, generated, classes) for kind in kinds}
    config["rights_tested"] = {"split": recipe.tested, "images": len(real) // 2, "base": recipe.base, "classes": "labels"}
    if labels is None:
        config["rights_tested"]["classes"] = f"{CLUSTERS} clusters of contrastive features"
    save_checkpoint(job.folder, config, {"features": part}, model_card({**config, "name": recipe.name}), tables)


def trained(job: Job, recipe: EvidencePanel, train: Tensor) -> tuple[PanelEncoders, dict[str, Any]]:
    """The encoders, each resumable in a folder of its own below the job's run, and the measures of their training."""
    arguments, steps = recipe.arguments, recipe.steps
    network, measures_of, mirror = PanelEncoders(**arguments), {}, recipe.dataset != "mnist"
    torch.manual_seed(job.seed + AUTOENCODER_SEED)
    widths, channels, side = arguments["autoencoder"], arguments["channels"], arguments["side"]
    autoencoder = AutoencoderDiscriminator(widths, channels, side, code=arguments["code"], error="mean-square")
    reconstruction = AutoencoderRecipe(steps=job.steps or steps[1], mirror=mirror)
    run = job.run.part("autoencoder")
    measures_of["autoencoder"] = train_autoencoder(
        autoencoder, reconstruction, train, run, job.seed + AUTOENCODER_SEED, job.device
    )
    network.autoencoder = autoencoder.encoder
    if network.contrastive is not None:
        torch.manual_seed(job.seed + CONTRASTIVE_SEED)
        encoder = ContrastiveEncoder(channels, arguments["contrastive"])
        # Crops of three quarters of the side, an even number.
        contrastive = ContrastiveRecipe(steps=job.steps or steps[0], crop=side * 3 // 8 * 2, mirror=mirror)
        run = job.run.part("contrastive")
        measures_of["contrastive"] = train_encoder(encoder, contrastive, train, run, job.seed + CONTRASTIVE_SEED, job.device)
        network.contrastive = encoder
    flat = {f"{kind}_{name}": value for kind, measures in measures_of.items() for name, value in measures.items()}
    return network.eval().requires_grad_(False), flat


def clusters(kinds: tuple[Kind, ...], bases: dict[str, Basis], real: Tensor) -> Tensor:
    """Classes (N,) int64 where a data set has none: clusters in the contrastive kind, which the ratios there belong to."""
    contrastive = next(kind for kind in kinds if kind.name == "contrastive")
    rows = bases["contrastive"].project(contrastive.features(real))
    return torch.from_numpy(KMeans(CLUSTERS, n_init=4, random_state=0).fit_predict(rows.numpy())).long()


@torch.no_grad()
def base_samples(name: str, count: int) -> Tensor:
    """`count` samples of a pair's generator under its prior, uint8, from a generator of random numbers of their own."""
    model = load(name)
    latents = torch.randn(count, model.config["prior"]["dim"], generator=torch.Generator().manual_seed(0))
    images = torch.cat([model.networks["generator"](part) for part in latents.split(100)])
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
