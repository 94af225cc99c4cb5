"""Where a panel's members come from: embedded for a data set, with bases, references and rights, or made for given images."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine import catalogue
from ebm_refine.errors import InputError
from ebm_refine.metrics.panel_kinds import Kind, borrowed_kinds, kinds_of
from ebm_refine.metrics.panel_rights import rights
from ebm_refine.metrics.principal_components import Basis, fit_basis

LEAST_REAL = 600
# A third of given real images fits the bases, but no more than this many.
MOST_FITTED = 2000
# Of given real images so many are damaged in grades to see who may vote.
MOST_DAMAGED = 1000


class Member(NamedTuple):
    """A kind with the basis of its features, those of real images by split (M, k), and its right to vote.

    `rights` is what `panel_rights.rights` gave, empty where nobody asked; `why` it may not vote, in words, is "" where it may.
    """

    kind: Kind
    basis: Basis
    references: dict[str, Tensor]
    rights: dict[str, Any]

    @property
    def why(self) -> str:
        if not self.rights:
            return "its right to vote was not tested"
        return "" if self.rights["votes"] else f"failed the test of {', '.join(self.rights['failed'])}"

    def project(self, pixels: Tensor) -> Tensor:
        """uint8 images (N, C, H, W) -> (N, k) float32."""
        return self.basis.project(self.kind.features(pixels))


class Panel(NamedTuple):
    """`shape` (C, H, W) is that of all images; `fingerprint` changes with weights, bases, references and rights."""

    name: str
    shape: tuple[int, ...]
    members: tuple[Member, ...]
    fingerprint: str


@lru_cache(maxsize=4)
def embedded_panel(dataset: str) -> Panel:
    """The frozen panel of "cifar10", "mnist" or "celeba". Raises InputError for another name."""
    kinds = kinds_of(dataset)
    checkpoint = catalogue.load(f"{dataset}-panel")
    tables, recorded = checkpoint.tables, checkpoint.config["rights"]
    bases = tables["bases"]
    references = {stem.removeprefix("panel-"): table for stem, table in tables.items() if stem.startswith("panel-")}
    members = tuple(
        Member(
            kind,
            Basis(bases[f"{kind.name}.mean"].float(), bases[f"{kind.name}.projection"].float()),
            {split: table[kind.name].float() for split, table in references.items()},
            recorded.get(kind.name, {}),
        )
        for kind in kinds
    )
    fingerprint = checkpoint.config["tables"]["bases"]["sha256"]
    return Panel(checkpoint.name, tuple(checkpoint.config["data"]["shape"]), members, fingerprint)


def panel_of(
    real: Tensor,
    base: Tensor,
    encoders: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    labels: Tensor | None = None,
    test_rights: bool = True,
    seed: int = 0,
    kinds: Sequence[Kind] | None = None,
) -> Panel:
    """A panel for images that no panel is embedded for: CIFAR-10's encoders at 32×32, the training-free kinds, and `encoders`.

    `kinds` replace the first five. The fingerprint changes with the real images.

    real (M, C, H, W) uint8, M >= 600: a random third fits the bases, the rest are the reference "given"; the right to vote is
    tested on up to 1,000 of them, with `labels` (M,) also by dropped classes, and on generated images `base`. `encoders`: by
    name, uint8 (B, C, H, W) -> (B, d) features. Raises InputError where there are too few images or an encoder gives no rows.
    """
    if len(real) < LEAST_REAL:
        raise InputError(f"a panel of given images needs at least {LEAST_REAL} real ones; got {len(real)}")
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
    fitted = order[: min(MOST_FITTED, len(real) // 3)]
    rest = order[len(fitted) :]
    damaged = order[:MOST_DAMAGED]
    chosen = borrowed_kinds() if kinds is None else kinds
    kinds = [*chosen, *(Kind(name, "given encoder", encoder) for name, encoder in (encoders or {}).items())]
    members = []
    for kind in kinds:
        rows = _rows(kind, real)
        basis = fit_basis(rows[fitted])
        found: dict[str, Any] = {}
        if test_rights:
            classes = labels[damaged] if labels is not None else None
            found = rights(kind.features, basis, real[damaged], base[: len(damaged) // 2], classes, seed)
        members.append(Member(kind, basis, {"given": basis.project(rows[rest])}, found))
    fingerprint = hashlib.sha256(real.contiguous().numpy().tobytes()).hexdigest()
    return Panel("made for these images", tuple(real.shape[1:]), tuple(members), fingerprint)


def _rows(kind: Kind, images: Tensor) -> Tensor:
    rows = kind.features(images)
    if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != len(images) or not rows.isfinite().all():
        raise InputError(
            f"encoder {kind.name!r} must give a finite row of features for each of {len(images)} images, (N, d); "
            f"got {tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__}"
        )
    return rows
