"""A verdict on few images, by two kinds of the evidence panel that the method does not use: what a visitor's own run shows.

One kind learned from data, one that needs no training: together they tell a change that either alone leaves open. This is no
panel's verdict, which takes three kinds and more images; it only says whether chance explains what is seen.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import change_projections
from ebm_refine.metrics.features import Reference
from ebm_refine.metrics.panel_kinds import DATASETS, kinds_seen
from ebm_refine.metrics.panel_rights import as_reference
from ebm_refine.metrics.panel_store import Member, embedded_panel

# The first two that may vote and are not the ratio's own kind are asked.
PREFERRED = ("contrastive", "filter bank", "classifier", "autoencoder", "pixels")
ASKED = 2
LEAST_IMAGES = 16
ERRORS = 1.96
SPLIT = "test"


class KindChange(NamedTuple):
    """One kind's kernel distance before, its change, paired by seed, and the change's standard error."""

    kind: str
    title: str
    before: float
    change: float
    error: float


class LiveVerdict(NamedTuple):
    """`word`: "better", "worse" or "same"; `z` the sum of the kinds' changes in its standard errors, negative is better."""

    word: str
    z: float
    kinds: tuple[KindChange, ...]
    images: int
    real_images: int
    panel: str

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {**self._asdict(), "kinds": [dict(one._asdict()) for one in self.kinds]}


def live_verdict(before: Tensor, after: Tensor, config: Mapping[str, Any], ratio: str) -> LiveVerdict:
    """Whether uint8 images `after` (N, C, H, W) are nearer to real ones than `before`, row i of both from one seed, N >= 16.

    config: that of their model, which names the data set; `ratio` the one that was used. Each kind k gives the change of the
    unbiased kernel distance in its standard errors, z_k; the verdict is on the sum of both, whose variance 2 + 2·cov(z_1, z_2)
    comes from the same per-image projections (generated and real). Beyond 1.96 of its errors it is "better" or "worse".

    Raises InputError where the data set has no panel, or the images are too few or of another shape.
    """
    dataset = config["data"]["dataset"]
    if dataset not in DATASETS:
        raise InputError(f"a verdict by a panel's kinds needs images of {', '.join(DATASETS)}; got {dataset!r}")
    if len(before) < LEAST_IMAGES:
        raise InputError(f"a verdict needs at least {LEAST_IMAGES} images; got {len(before)}")
    panel = embedded_panel(dataset)
    if tuple(before.shape[1:]) != panel.shape:
        raise InputError(f"panel {panel.name} is for images of shape {panel.shape}; got {tuple(before.shape[1:])}")
    asked = kinds_asked(panel.members, kinds_seen(config, ratio))
    found, rows = [], []
    for member in asked:
        reference = _reference(dataset, member.kind.name)
        value, change, on_images, on_real = change_projections(member.project(before), member.project(after), reference)
        error = float(on_images.var() / len(on_images) + on_real.var() / len(on_real)) ** 0.5
        found.append(KindChange(member.kind.name, member.kind.title, value, change, error))
        if error > 0:  # nothing moved: nothing to weigh
            rows.append((change / error, on_images / error, on_real / error))
    z = 0.0
    if rows:
        images, real = sum(row[1] for row in rows), sum(row[2] for row in rows)
        z = sum(row[0] for row in rows) / float(images.var() / len(images) + real.var() / len(real)) ** 0.5
    word = "better" if z < -ERRORS else "worse" if z > ERRORS else "same"
    count = len(_reference(dataset, asked[0].kind.name).features)
    return LiveVerdict(word, z, tuple(found), len(before), count, panel.name)


def kinds_asked(members: tuple[Member, ...], seen: Sequence[str]) -> list[Member]:
    """The two kinds that are asked where a ratio sees features of the kinds `seen`."""
    able = {member.kind.name: member for member in members if not member.why and member.kind.name not in seen}
    return [able[name] for name in PREFERRED if name in able][:ASKED]


@lru_cache(maxsize=2 * len(PREFERRED))
def _reference(dataset: str, kind: str) -> Reference:
    """Stored features of real test images, with their mean kernel values, which are the slow part."""
    member = next(one for one in embedded_panel(dataset).members if one.kind.name == kind)
    return as_reference(member.references[SPLIT], SPLIT)
