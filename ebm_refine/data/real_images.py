"""Real pictures of one's own: arrays, a folder of pictures, parquet files or a Hub data set, as a generator's own samples are.

Nothing is cropped, resized or recoloured here: distances between pictures of two codings say nothing, and only their
owner knows how the training images were made. What does not fit is rejected, with advice.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ebm_refine.data.images import Images
from ebm_refine.errors import InputError
from ebm_refine.models.kinds import MAX_LABELS
from ebm_refine.parameters import listed, shorten

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MODES = {1: ("L", "1", "LA", "La"), 3: ("RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV")}
DEEPER = {"I;16": "16 bits", "I": "32 bits", "F": "a floating-point number"}
# A picture of more pixels than this is no training image, and may be a bomb.
MAX_PIXELS = 2**24


def real_images(
    real: Any,
    shape: Sequence[int],
    value_range: tuple[float, float] = (-1.0, 1.0),
    split: str = "train",
    limit: int | None = None,
) -> Images:
    """`real` as images (N, C, H, W) uint8 of the generator's `shape` (C, H, W), or as vectors (N, d) float32 of `shape` (d,).

    real: images uint8, or floating-point in `value_range`, as an array or tensor, (N, C, H, W), (N, H, W, C) or grey (N, H, W),
    alone or with labels (N,) as a pair; `Images`; a folder of pictures, whose subfolders, if all lie in such, are labels; a
    parquet file, or a folder of them (those of the `split` where names say one); or a Hub data set "owner/name". Vectors come
    as an array. Read are at most `limit`. Raises InputError, one sentence, for anything that does not fit.
    """
    shape = tuple(shape)
    if isinstance(real, Images):
        real = (real.pixels, real.labels)
    labels = None
    if isinstance(real, tuple) and len(real) == 2 and not isinstance(real[0], int | float):
        real, labels = real
    if isinstance(real, str | Path):
        if len(shape) != 3:
            raise InputError(f"real vectors of {shape} are given as an array (N, {shape[0]}); got {shorten(str(real))}")
        found = _from_source(str(real), shape, split, limit)
    else:
        found = Images(_of_array(real, shape, value_range)[:limit], None)
    if labels is not None:
        found = Images(found.pixels, _labels(labels, len(real) if limit is None else len(found.pixels), limit))
    if len(found.pixels) < 2:
        raise InputError(f"real images are needed, at least 2; got {len(found.pixels)}")
    return found


def _of_array(real: Any, shape: tuple[int, ...], value_range: tuple[float, float]) -> Tensor:
    try:
        values = real.detach().cpu() if isinstance(real, Tensor) else torch.from_numpy(np.ascontiguousarray(np.asarray(real)))
    except (TypeError, ValueError):
        raise InputError(f"real must be an array, a folder, parquet files or a Hub data set; got {shorten(real)}") from None
    wanted = f"(N, {', '.join(map(str, shape))})"
    if len(shape) == 1:
        if values.ndim != 2 or values.shape[1] != shape[0]:
            raise InputError(f"the generator makes vectors {wanted}; real is {tuple(values.shape)}")
        return _finite(values.float())
    channels = shape[0]
    if values.ndim == 3 and channels == 1:
        values = values[:, None]
    if values.ndim == 4 and values.shape[1] != channels and values.shape[3] == channels:
        values = values.permute(0, 3, 1, 2)
    _see_that_it_fits(tuple(values.shape[1:]), shape, "real is an array of images")
    if values.dtype == torch.uint8:
        return values.contiguous()
    if not len(values):
        raise InputError("real images are needed, at least 2; got 0")
    if not values.is_floating_point():
        raise InputError(
            f"real images must be uint8, or floating-point in {value_range}; got {str(values.dtype).split('.')[-1]}"
        )
    values, (low, high) = _finite(values.float()), value_range
    least, most = float(values.min()), float(values.max())
    if least < low - 1e-3 or most > high + 1e-3:
        raise InputError(f"real images lie in {least:.3g} … {most:.3g}, outside the generator's value_range {value_range}")
    if low < 0 and least >= 0 and most <= 1:
        raise InputError(
            f"real images lie in {least:.3g} … {most:.3g}, the generator's in {value_range}: give that range or uint8"
        )
    return ((values - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8).contiguous()


def _finite(values: Tensor) -> Tensor:
    if not values.isfinite().all():
        raise InputError("real holds numbers that are not finite")
    return values


def _labels(labels: Any, count: int, limit: int | None) -> Tensor:
    given = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels).flatten()[:limit]
    whole = given.dtype.kind in "iu" and len(given) == count
    if not whole or (count and not 0 <= int(given.min()) <= int(given.max()) < MAX_LABELS):
        raise InputError(
            f"labels must be whole numbers from 0 to {MAX_LABELS - 1}, one for each of {count} real images; got "
            f"{shorten(labels)}"
        )
    return torch.from_numpy(given.astype(np.int64))


def _from_source(source: str, shape: tuple[int, ...], split: str, limit: int | None) -> Images:
    path = Path(source).expanduser()
    if path.is_file() and path.suffix == ".parquet":
        return _of_rows(_parquet([path]), shape, source, limit)
    if path.is_dir():
        tables = sorted(path.glob("*.parquet"))
        if tables:
            named = [file for file in tables if file.name.startswith(f"{split}-") or file.name == f"{split}.parquet"]
            return _of_rows(_parquet(named or tables), shape, source, limit)
        return _of_folder(path, shape, limit)
    if source.count("/") == 1 and not source.startswith((".", "/", "~")):
        return _of_rows(_hub(source, split), shape, source, limit)
    if path.is_file():
        raise InputError(
            f"real must be a folder of pictures, parquet files or an array; {source!r} is another file: an array of .npy or "
            ".npz is read by numpy.load"
        )
    raise InputError(f"real must be a folder of pictures, parquet files or a Hub data set 'owner/name'; there is no {source!r}")


def _of_folder(folder: Path, shape: tuple[int, ...], limit: int | None) -> Images:
    files = sorted(
        file
        for file in folder.rglob("*")
        # Hidden folders hold copies, and hidden files are no pictures, whatever they are called.
        if file.suffix.lower() in PICTURES and file.is_file() and not _hidden(file.relative_to(folder))
    )
    if not files:
        found = listed(sorted({file.suffix or file.name for file in folder.iterdir()})) or "nothing"
        raise InputError(
            f"folder {str(folder)!r} holds no pictures ({', '.join(PICTURES[:4])}, …) and no parquet files; it holds {found}"
        )
    parents = [file.relative_to(folder).parts[0] if file.parent != folder else "" for file in files]
    names = sorted(set(parents))
    if limit is not None and limit < len(files):  # spread over the folder, which may be sorted by class
        keep = [k * len(files) // limit for k in range(limit)]
        files, parents = [files[k] for k in keep], [parents[k] for k in keep]
    pixels = np.stack([_decoded(_opened(file), shape, f"picture {str(file)!r}") for file in files])
    labels = torch.tensor([names.index(parent) for parent in parents]) if "" not in names and len(names) > 1 else None
    return Images(torch.from_numpy(pixels), labels)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _opened(file: Path) -> Image.Image:
    try:
        picture = Image.open(file)
        if picture.width * picture.height > MAX_PIXELS:
            raise InputError(
                f"picture {str(file)!r} has {picture.width}x{picture.height} pixels, too many for a training image"
            )
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        raise InputError(f"picture {str(file)!r} cannot be read: remove it, or save it anew") from None
    return picture


def _decoded(picture: Image.Image, shape: tuple[int, ...], what: str) -> np.ndarray:
    """(C, H, W) uint8. Raises InputError where channels or size are not the generator's."""
    if picture.mode not in MODES[1] + MODES[3]:  # conversion would clip them
        raise InputError(
            f"{what} has {DEEPER.get(picture.mode[:4], picture.mode)} a channel: save it anew with 8, as the training read it"
        )
    channels = 1 if picture.mode in MODES[1] else 3
    _see_that_it_fits((channels, picture.height, picture.width), shape, what)
    array = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _see_that_it_fits(found: tuple[int, ...], shape: tuple[int, ...], what: str) -> None:
    if found == shape:
        return
    if len(found) != 3:
        raise InputError(f"{what}, but of shape {('N', *found)}; the generator makes {('N', *shape)}")
    if found[1:] != shape[1:]:
        made, seen = (f"{one[2]}x{one[1]}" for one in (shape, found))
        raise InputError(
            f"{what} of {seen}, but the generator makes {made}: crop and resize all real pictures as the training did"
        )
    colour = {1: "grey", 3: "in colour"}
    made, seen = (colour.get(one[0], f"of {one[0]} channels") for one in (shape, found))
    raise InputError(f"{what}, {seen}, but the generator's are {made}: convert all real pictures as the training did")


def _parquet(files: list[Path]) -> Any:
    load_dataset = _datasets()
    try:
        return load_dataset("parquet", data_files=[str(file) for file in files], split="train")
    except Exception as error:  # the library raises many sorts for a damaged file
        raise InputError(f"{files[0]} cannot be read as parquet: {_said(error)}") from None


def _hub(source: str, split: str) -> Any:
    load_dataset = _datasets()
    try:
        return load_dataset(source, split=split)
    except Exception as error:  # for a missing name, split or network too
        raise InputError(
            f"{source!r} is no folder here, and as a data set of the Hub, split {split!r}, it cannot be read: {_said(error)}"
        ) from None


def _datasets() -> Any:
    try:
        from datasets import load_dataset
    except ModuleNotFoundError:
        raise InputError("parquet files and Hub data sets are read by datasets: `pip install datasets`") from None
    return load_dataset


def _of_rows(rows: Any, shape: tuple[int, ...], source: str, limit: int | None) -> Images:
    from datasets import Image as ImageColumn

    column = next((name for name, feature in rows.features.items() if isinstance(feature, ImageColumn)), None)
    if column is None:  # written without the Hub's metadata, an image is a struct with its bytes
        column = next((name for name in ("image", "img", "picture") if name in rows.column_names), None)
        if column is None:
            raise InputError(f"{source!r} has no column of images, only {listed(rows.column_names)}")
        rows = rows.cast_column(column, ImageColumn())
    if limit is not None and limit < len(rows):
        rows = rows.select([k * len(rows) // limit for k in range(limit)])
    pixels = np.stack(list(_pixels(rows, column, shape, source)))
    return Images(torch.from_numpy(pixels), _of_column(rows["label"]) if "label" in rows.column_names else None)


def _of_column(column: Any) -> Tensor | None:
    """Labels (N,) int64 of a column of whole numbers or of names; None where any of them is missing or neither."""
    given = list(column)
    if all(isinstance(one, str) for one in given):
        names = sorted(set(given))
        given = [names.index(one) for one in given]
    if not all(isinstance(one, int) and 0 <= one < MAX_LABELS for one in given):
        return None
    return torch.tensor(given)


def _pixels(rows: Any, column: str, shape: tuple[int, ...], source: str) -> Iterator[np.ndarray]:
    chosen = rows.select_columns([column])
    for number in range(len(chosen)):
        what = f"picture {number} of {source!r}"
        try:
            picture = chosen[number][column]
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
            raise InputError(f"{what} cannot be read: leave it out, or save it anew") from None
        if picture is None:
            raise InputError(f"{what} is missing: leave that row out")
        yield _decoded(picture, shape, what)


def _said(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]
