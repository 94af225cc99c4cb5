"""Image data from a local folder of parquet files or from the Hub, as uint8 tensors, with the project's splits."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebm_refine.errors import InputError

HUB_IDS = {"mnist": "ylecun/mnist", "cifar10": "uoft-cs/cifar10", "celeba": "nielsr/CelebA-faces"}
IMAGE_COLUMNS = {"mnist": "image", "cifar10": "img", "celeba": "image"}
SPLITS = ("train", "holdout", "test")


class Images(NamedTuple):
    """`pixels` (N, C, H, W) uint8; `labels` (N,) int64, or None where the data set has none."""

    pixels: Tensor
    labels: Tensor | None


def load_images(dataset: str, source: str | None, split: str) -> Images:
    """Read one split of `dataset` ("mnist", "cifar10", "celeba").

    `source` is a folder that holds `train-*.parquet` and `test-*.parquet`, or a Hub data-set id; None means the Hub id that
    belongs to the data set. The last tenth of the stored train split, by index, is "holdout".
    Raises InputError where the folder, its files or its columns are not as expected.
    """
    if split not in SPLITS:
        raise InputError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    rows = _read(dataset, source or HUB_IDS[dataset], "test" if split == "test" else "train")
    column = IMAGE_COLUMNS[dataset]
    if column not in rows.column_names:
        raise InputError(f"data for {dataset} needs an image column {column!r}; {source} has {', '.join(rows.column_names)}")
    if split != "test":
        edge = len(rows) - len(rows) // 10
        if edge == len(rows):
            raise InputError(f"a tenth of the images in train-*.parquet is held out, so it takes 10 or more; got {len(rows)}")
        rows = rows.select(range(edge) if split == "train" else range(edge, len(rows)))
    arrays = [_to_array(dataset, row[column]) for row in rows.select_columns([column])]
    for row, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise InputError(f"images of {source} differ: {split} has {arrays[0].shape} first, then {array.shape} at {row}")
    labels = rows["label"] if "label" in rows.column_names else None
    if labels is not None and not all(isinstance(label, int) for label in labels):
        raise InputError(f"the column 'label' of {source} must hold a whole number for each image, or be left out")
    return Images(torch.from_numpy(np.stack(arrays)), None if labels is None else torch.tensor(labels))


def load_extra_faces(source: str | None) -> Tensor:
    """The looser crops of further CelebA faces, (N, 3, 64, 64) uint8, from `extra-*.parquet` in the folder `source`.

    Raises InputError where there is no such folder or it has no such files: on the Hub there is no such split.
    """
    if source is None or not Path(source).is_dir():
        raise InputError(f"the further faces lie in a local folder as extra-*.parquet; name it with --data (got {source!r})")
    rows = _read("celeba", source, "extra")
    return torch.from_numpy(np.stack([_to_array("celeba", image) for image in rows["image"]]))


def training_image(dataset: str, source: str, row: int) -> Tensor:
    """One image (C, H, W) uint8 of the train split in the folder `source`, without reading the others. Raises InputError."""
    image = _read(dataset, source, "train").select([row])[IMAGE_COLUMNS[dataset]][0]
    return torch.from_numpy(_to_array(dataset, image).copy())


def source_fingerprint(source: str | None) -> str | None:
    """What identifies the data of a run: the sha256 of a folder's parquet files with their names, or a Hub id as it stands."""
    if source is None or not Path(source).is_dir():
        return source
    digest = hashlib.sha256()
    for path in sorted(Path(source).glob("*.parquet")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 images -> float32 in [-1, 1], the range in which every network here works."""
    return pixels.float().div_(127.5).sub_(1.0)


def _read(dataset: str, source: str, stored_split: str):
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    folder = Path(source)
    if folder.exists():
        files = sorted(str(path) for path in folder.glob(f"{stored_split}-*.parquet"))
        if not files:
            raise InputError(f"data folder {source!r} holds no {stored_split}-*.parquet files")
        return load_dataset("parquet", data_files={stored_split: files}, split=stored_split)
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise InputError(f"data must be an existing folder or a Hub data set 'owner/name'; got {source!r}")
    try:
        return load_dataset(source, split=stored_split)
    except (DatasetNotFoundError, ConnectionError, OSError) as error:
        raise InputError(f"data set {source!r} could not be read from the Hub: {type(error).__name__}") from error


def _to_array(dataset: str, image) -> np.ndarray:
    if dataset == "celeba":
        if image.size == (89, 109):  # the aligned images at half size; their usual centre crop
            image = image.crop((0, 10, 89, 99))
        image = image.convert("RGB").resize((64, 64))
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
