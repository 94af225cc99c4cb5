"""Evidence: do encoders of several kinds agree that refined images are nearer to real ones?

`panel` measures; `verdict` applies the rule.

Each kind of features gives the unbiased kernel distance (Bińkowski et al. 2018, arXiv 1801.01401) of images before and after
from real ones, and the change with its standard error, s² = s²_generated / images + s²_reference / M: the noise of the real
images is part of it, and more generated ones do not make that part smaller. The rule was fixed before anything was measured.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.metrics import faces_found
from ebm_refine.metrics.distances import (
    Estimate,
    frechet_estimate,
    kernel_distance,
    paired_difference,
    paired_frechet_difference,
)
from ebm_refine.metrics.panel_kinds import BODY_KINDS, PIXELS
from ebm_refine.metrics.panel_rights import as_reference
from ebm_refine.metrics.panel_store import Member, Panel, embedded_panel, panel_of
from ebm_refine.parameters import shorten

LEAST_IMAGES, MOST_IMAGES = 256, 10_000
LEAST_VOTERS = 3
GAIN_ERRORS, LOSS_ERRORS, SEEN_ERRORS = 3.0, 2.0, 3.0
GAINING_SHARE, MEDIAN_GAIN, HARMFUL_LOSS = 2 / 3, 0.10, 0.05
WORDS = ("confirmed", "open", "contradicted")


class Row(NamedTuple):
    """The result of one kind. `why` it has no vote, "" where it has one; differences are after - before, negative is better."""

    kind: str
    title: str
    why: str
    before: Estimate
    after: Estimate
    difference: Estimate
    frechet_before: Estimate | None = None
    frechet_after: Estimate | None = None
    frechet_difference: Estimate | None = None

    @property
    def votes(self) -> bool:
        return not self.why

    @property
    def z(self) -> float:
        """The change in standard errors."""
        return self.difference.value / self.difference.error if self.difference.error else 0.0

    @property
    def relative(self) -> float:
        """The change as a share of the base's distance."""
        return self.difference.value / self.before.value


class Verdict(NamedTuple):
    """`word` is one of WORDS, `reason` one sentence; `median_gain` over the voting kinds, None where none votes."""

    word: str
    reason: str
    median_gain: float | None


class PanelReport(NamedTuple):
    """The whole result of a panel. `faces`: shares of images in which a face is found, or a note; None for other data sets."""

    verdict: Verdict
    rows: tuple[Row, ...]
    images: int
    reference: dict[str, Any]
    panel: str
    fingerprint: str
    body: str | None
    faces: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        rows = [
            {
                **{name: value for name, value in row._asdict().items() if value is not None},
                **{name: dict(value._asdict()) for name, value in row._asdict().items() if isinstance(value, Estimate)},
                "votes": row.votes,
                "relative": row.relative,
                "z": row.z,
            }
            for row in self.rows
        ]
        return {**self._asdict(), "verdict": dict(self.verdict._asdict()), "rows": rows}

    def __str__(self) -> str:
        return report_text(self.as_dict())


def report_text(report: Mapping[str, Any]) -> str:
    """A report's plain values (`PanelReport.as_dict`) as text: the verdict, then a line a kind."""
    lines = [f"{report['verdict']['word']}: {report['verdict']['reason']}"]
    lines.append(f"{'kind':14} {'before':>9} {'after':>9} {'change':>8} {'s.e.':>6}  vote")
    for row in report["rows"]:
        before, after = row["before"]["value"], row["after"]["value"]
        change = f"{row['relative']:+.0%}" if before > 0 else "–"
        vote = "yes" if row["votes"] else f"no: {row['why']}"
        lines.append(f"{row['kind']:14} {before:9.4f} {after:9.4f} {change:>8} {row['z']:+6.1f}  {vote}")
    if report["faces"]:
        lines.append(faces_found.sentence(report["faces"]))
    where = report["reference"]
    lines.append(f"{report['images']} images before and after, {where['images']} real ones ({where['split']})")
    return "\n".join(lines)


def panel(
    before: Any,
    after: Any,
    real: Any = None,
    *,
    dataset: str | None = None,
    split: str = "test",
    body: str | Sequence[str] | None = None,
    encoders: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    labels: Any = None,
    test_rights: bool = True,
    seed: int = 0,
) -> PanelReport:
    """Ask the panel whether images `after` are nearer to real ones than `before`, and by how much.

    before, after: uint8 (N, C, H, W), tensors or arrays, 256 <= N <= 10,000, row i of both from the same start (from the same
    latent or seed; a change that is not paired has larger errors than needed, not wrong ones). real: uint8 (M, C, H, W) that
    went through exactly the crop, resize and coding of the model's training images.

    dataset: "cifar10", "mnist" or "celeba" take the frozen panel of that data set; `real` may then be left out, and stored
    features of `split` stand for it. Without it, `real` needs 600 images or more, and the kinds are CIFAR-10's encoders at
    32×32 and those without training; who may vote is tested on the spot unless `test_rights` is False (then nobody may);
    `labels` (M,) of the real images add the test of dropped classes, `encoders` further kinds: uint8 (B, C, H, W) -> (B, d).

    body: the kind, or kinds, of features that the change was made with, such as "classifier"; they have no vote.
    Raises InputError for too few images, other shapes or types, and unknown names.
    """
    earlier, later = _pixels(before, "before"), _pixels(after, "after")
    if earlier.shape != later.shape:
        raise InputError(
            f"before and after must be equally many images of one size; got {tuple(earlier.shape)} and {tuple(later.shape)}"
        )
    given = None if real is None else _pixels(real, "real", LEAST_IMAGES)
    seen = () if body is None else (body,) if isinstance(body, str) else tuple(body)
    known = {*BODY_KINDS.values(), PIXELS}
    if strange := [kind for kind in seen if kind not in {*known, *(encoders or {})}]:
        raise InputError(f"body must be one or several of {', '.join(sorted(known))}, or None; got {shorten(strange[0])}")
    if dataset is not None:
        if encoders:
            raise InputError("encoders go with real images of your own; leave dataset or encoders out")
        return measured(embedded_panel(dataset), earlier, later, given, split=split, seen=seen)
    if given is None:
        raise InputError("real images are needed: give `real`, or the name of a data set that has a panel of its own")
    if given.shape[1:] != earlier.shape[1:]:
        raise InputError(f"real images are of shape {tuple(given.shape[1:])}, the others of {tuple(earlier.shape[1:])}")
    classes = None if labels is None else torch.as_tensor(np.asarray(labels)).long()
    if classes is not None and len(classes) != len(given):
        raise InputError(f"labels must be as many as the real images, {len(given)}; got {len(classes)}")
    made = panel_of(given, earlier, encoders, classes, test_rights, seed)
    return measured(made, earlier, later, split="given", seen=seen)


def measured(
    panel: Panel,
    before: Tensor,
    after: Tensor,
    real: Tensor | None = None,
    *,
    split: str = "test",
    seen: Sequence[str] = (),
) -> PanelReport:
    """The report of `panel` on paired uint8 images (N, C, H, W); against `real` where given, else its stored `split`.

    Raises InputError for images of another shape than the panel's, and where it has no such split.
    """
    for name, images in (("before", before), ("real", real)):
        if images is not None and tuple(images.shape[1:]) != panel.shape:
            raise InputError(f"panel {panel.name} is for images of shape {panel.shape}; {name} has {tuple(images.shape[1:])}")
    given = None if real is None else projected(panel, real)
    found = judged(panel, projected(panel, before), projected(panel, after), given, split=split, seen=seen)
    if panel.name != "celeba-panel":
        return found
    sets = {"before": before, "after": after, **({} if real is None else {"real": real})}
    return found._replace(faces=faces_found.shares(sets))


def projected(panel: Panel, images: Tensor) -> dict[str, Tensor]:
    """By kind the features of uint8 images (N, C, H, W) in that kind's basis, (N, k)."""
    return {member.kind.name: member.project(images) for member in panel.members}


def judged(
    panel: Panel,
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    real: Mapping[str, Tensor] | None = None,
    *,
    split: str = "test",
    seen: Sequence[str] = (),
) -> PanelReport:
    """The report on features that `projected` gave. Raises InputError where `real` is None and there is no such `split`."""
    splits = panel.members[0].references
    if real is None and split not in splits:
        raise InputError(f"split must be one of {', '.join(splits)}; got {shorten(split)}")
    rows, count = [], 0
    for member in panel.members:
        name = member.kind.name
        reference = as_reference(member.references[split] if real is None else real[name], split)
        count = reference.images
        rows.append(_row(member, before[name], after[name], reference, seen))
    where = {"split": split, "images": count}
    body = ", ".join(seen) or None
    return PanelReport(verdict(rows), tuple(rows), len(before[name]), where, panel.name, panel.fingerprint, body)


def _row(member: Member, before: Tensor, after: Tensor, reference: Any, seen: Sequence[str]) -> Row:
    first, last = kernel_distance(before, reference), kernel_distance(after, reference)
    why = member.why
    if member.kind.name in seen:
        why = "the ratio sees pixels" if member.kind.name == PIXELS else "the ratio sees with a network of this kind"
    elif not why and not first.value > SEEN_ERRORS * first.error:
        why = f"does not tell base from real: {first.value:.4f} ± {first.error:.4f}"
    found = Row(member.kind.name, member.kind.title, why, first, last, paired_difference(before, after, reference))
    if min(len(before), reference.images) < 10 * before.shape[1]:
        return found  # a Fréchet distance needs ten times the dimension
    return found._replace(
        frechet_before=frechet_estimate(before, reference),
        frechet_after=frechet_estimate(after, reference),
        frechet_difference=paired_frechet_difference(before, after, reference),
    )


def verdict(rows: Sequence[Row]) -> Verdict:
    """What the voting kinds decide.

    *Contradicted*: in any of them a loss beyond 3 standard errors and of 5 % of the base's distance. *Confirmed*: a gain beyond
    3 standard errors in at least two thirds, a loss beyond 2 in none, and a median relative gain of 10 % or more. *Open*:
    anything else, and whenever fewer than three kinds vote.
    """
    voters = [row for row in rows if row.votes]
    if len(voters) < LEAST_VOTERS:
        gain = -statistics.median(row.relative for row in voters) if voters else None
        return Verdict("open", f"{len(voters)} kinds have a vote, and at least {LEAST_VOTERS} are needed", gain)
    gain = -statistics.median(row.relative for row in voters)
    harmed = [row.kind for row in voters if row.z > GAIN_ERRORS and row.relative >= HARMFUL_LOSS]
    lost = [row.kind for row in voters if row.z > LOSS_ERRORS]
    gained = [row.kind for row in voters if row.z < -GAIN_ERRORS]
    said = f"{len(gained)} of {len(voters)} voting kinds gain beyond 3 standard errors, median gain {gain:.0%}"
    if harmed:
        return Verdict("contradicted", f"{said}, but a clear loss in {', '.join(harmed)}", gain)
    if lost:
        return Verdict("open", f"{said}, but a loss in {', '.join(lost)}", gain)
    if len(gained) >= GAINING_SHARE * len(voters) and gain >= MEDIAN_GAIN:
        return Verdict("confirmed", f"{said}, no loss", gain)
    return Verdict("open", said, gain)


def _pixels(images: Any, name: str, least: int = LEAST_IMAGES) -> Tensor:
    """As uint8 tensor (N, C, H, W). Raises InputError for anything else."""
    tensor = images if isinstance(images, Tensor) else torch.as_tensor(np.asarray(images))
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or not all(tensor.shape[1:]):
        raise InputError(f"{name} must be uint8 images (N, C, H, W); got {tensor.dtype} of shape {tuple(tensor.shape)}")
    if not least <= len(tensor) <= MOST_IMAGES:
        raise InputError(f"{name} must hold from {least} to {MOST_IMAGES} images for a panel; got {len(tensor)}")
    return tensor.cpu()
