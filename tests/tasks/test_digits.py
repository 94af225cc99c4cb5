"""Uploads: any usual picture becomes a digit as MNIST prepares it, and every other one gets one sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ebm_refine.errors import InputError
from ebm_refine.tasks import digit_preprocessing as digits
from ebm_refine.tasks import synthetic_digits as patterns


def file_of(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def written(mode: str = "L", ink: int = 20, paper: int = 240, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """An upright bar on paper, off the middle."""
    grey = np.full(size[::-1], paper, dtype=np.uint8)
    grey[10:60, 20:35] = ink
    return Image.fromarray(grey).convert(mode)


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims this size and has no pixels."""
    # Pillow looks no further than the first piece of pixels when it opens a file.
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + body
        + struct.pack(">I", zlib.crc32(body))
        + struct.pack(">I", 500)
        + b"IDAT"
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_every_usual_format_gives_the_same_digit(kind):
    digit = digits.as_digit(digits.read(file_of(written("RGB"), kind)))
    plain = digits.as_digit(written())
    assert float((digit - plain).abs().mean()) < 0.02


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_usual_mode_and_either_polarity(mode):
    dark_on_light = digits.as_digit(digits.read(file_of(written(mode, ink=0, paper=255))))
    light_on_dark = digits.as_digit(digits.read(file_of(written(mode, ink=255, paper=0))))
    assert dark_on_light.shape == (1, 28, 28)
    assert dark_on_light.dtype == torch.float32
    assert torch.allclose(dark_on_light, light_on_dark, atol=0.05)


def test_writing_is_scaled_to_twenty_pixels_and_centred_by_its_mass():
    digit = digits.as_digit(written()) / 2 + 0.5  # 0 is paper, 1 is ink
    rows, columns = (np.flatnonzero(digit[0].sum(dim=axis) > 0.2) for axis in (1, 0))
    assert (len(rows), len(columns)) == (20, 6)  # the bar is 50 by 15
    middle = [float((digit[0].sum(dim=axis) * torch.arange(28)).sum() / digit.sum()) for axis in (1, 0)]
    assert middle == pytest.approx([13.5, 13.5], abs=0.51)
    assert float(digit.max()) == pytest.approx(1.0)


def test_a_transparent_drawing_lies_on_white():
    drawing = Image.new("RGBA", (60, 60))
    drawing.paste((0, 0, 0, 255), (25, 10, 32, 50))
    assert torch.allclose(digits.as_digit(drawing), digits.as_digit(drawing.getchannel("A")), atol=0.02)


def test_a_digit_of_the_models_own_size_is_taken_as_it_is():
    digit = patterns.written([5], 28)[0]
    grey = Image.fromarray(digit[0].add(1).mul(127.5).round().to(torch.uint8).numpy())
    assert torch.allclose(digits.as_digit(grey), digit, atol=1 / 127)


def test_a_row_is_cut_into_its_digits():
    row = Image.new("L", (300, 100), 255)
    labels = (4, 0, 7)
    for number, digit in enumerate(patterns.written(labels, 28)):
        ink = Image.fromarray((digit[0].add(1) * 127.5).to(torch.uint8).numpy()).resize((84, 84))
        row.paste(Image.new("L", (84, 84), 0), (100 * number + 8, 8), ink)
    found = digits.row(row)
    assert found.shape == (3, 1, 28, 28)
    assert all(float((one - two).abs().mean()) < 0.1 for one, two in zip(found, patterns.written(labels, 28), strict=True))
    row.putpixel((99, 5), 0)  # a speck in a gap is no digit
    assert len(digits.row(row.crop((0, 0, 200, 100)))) == 2
    with pytest.raises(InputError, match="nothing is written on it"):
        digits.row(Image.new("RGB", (300, 100), "white"))


def refused(content: bytes) -> str:
    with pytest.raises(InputError) as error:
        digits.as_digit(digits.read(content))
    sentence = str(error.value)
    assert "\n" not in sentence
    assert len(sentence) < 250
    return sentence


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the image is empty: the file has no bytes"),
        (b"hello", "the file is not an image: it must be one of PNG, JPEG, WEBP, BMP, GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "the file is not an image: it must be one of PNG, JPEG, WEBP, BMP, GIF"),
        (bytes(digits.MAX_BYTES + 1), "the image must be at most 5 MB; got 5.0 MB"),
        (file_of(written("CMYK"), "JPEG"), "the image's mode must be one of 1, L, LA, P, RGB, RGBA; got CMYK"),
        (
            file_of(Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20))),
            "the image's mode must be one of 1, L, LA, P, RGB, RGBA; got I;16",
        ),
        (file_of(Image.new("L", (5, 40))), "the image's sides must be from 8 to 4096 pixels; got 5 x 40"),
        (file_of(Image.new("1", (5000, 40))), "the image's sides must be from 8 to 4096 pixels; got 5000 x 40"),
        (file_of(Image.new("RGB", (64, 64), "white")), "nothing is written on it"),
        (file_of(Image.new("L", (28, 28))), "nothing is written on it"),
        (file_of(Image.new("RGBA", (64, 64))), "nothing is written on it"),
        (file_of(written())[:-60], "the image is damaged: "),
        (png_header(100_000, 100_000), "the image"),
        (png_header(50, 50), "the image is damaged"),
    ],
)
def test_bad_uploads_get_one_sentence(content, sentence):
    assert sentence in refused(content)


def test_a_tiff_is_not_opened_though_pillow_could():
    assert "not an image" in refused(file_of(written(), "TIFF"))
