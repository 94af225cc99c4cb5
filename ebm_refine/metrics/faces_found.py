"""The share of images in which a classical detector finds a face (Viola and Jones 2001): no network, and no vote either.

OpenCV's frontal-face cascade on images enlarged fourfold. It needs the optional package `opencv-python-headless`, below 5,
where the cascade detector went.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

ENLARGED = 4
SCALE_STEP, NEIGHBOURS = 1.1, 4
# Of the side of the enlarged image; a crop that a model of faces learned from is filled by its face.
LEAST_FACE = 0.3
MISSING = "Share of faces found not measured: it needs OpenCV; install it with `pip install 'ebm-refine[faces]'`."


def shares(sets: dict[str, Tensor]) -> dict[str, Any]:
    """{name: share in [0, 1]} for sets of uint8 images (N, C, H, W), or {"note": one sentence} without OpenCV."""
    detector = _detector()
    if detector is None:
        return {"note": MISSING}
    return {name: sum(_has_face(detector, image) for image in images) / len(images) for name, images in sets.items()}


def sentence(found: dict[str, Any]) -> str:
    """What `shares` gave, in words."""
    if "note" in found:
        return found["note"]
    return "A face is found in " + ", ".join(f"{share:.1%} of the images {name}" for name, share in found.items()) + "."


@lru_cache(maxsize=1)
def _detector() -> Any:
    try:
        import cv2
    except ImportError:
        return None
    if not hasattr(cv2, "CascadeClassifier"):
        return None
    cascades = getattr(cv2, "data").haarcascades  # noqa: B009 - a module that type checkers do not see
    return cv2.CascadeClassifier(cascades + "haarcascade_frontalface_default.xml")


def _has_face(detector: Any, image: Tensor) -> bool:
    import cv2

    pixels = image.float().mean(0).round().numpy().astype(np.uint8)
    large = cv2.resize(pixels, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    least = round(LEAST_FACE * min(large.shape))
    return len(detector.detectMultiScale(large, SCALE_STEP, NEIGHBOURS, minSize=(least, least))) > 0
