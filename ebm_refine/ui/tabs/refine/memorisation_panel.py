"""Whether a generated image is a copy: what the page says of one, with the nearest training image where the data is at hand."""

import html

import torch
from torch import Tensor

from ebm_refine import render
from ebm_refine.catalogue import load
from ebm_refine.errors import InputError
from ebm_refine.ui.components.html_table import percent
from ebm_refine.ui.tabs.refine.job import Record

# Below this percentile of held-out images one should look.
SUSPECT = 1.0
SCALE = 2


def as_html(record: Record, number: int, data: str | None) -> str:
    """One sentence on image `number`, and the pictures of both where `data` is the folder of the training images.

    Empty where the model's data has no index of training images.
    """
    if record.bounds:
        return ""
    # Imported here: torchmetrics takes seconds that the page should not wait for.
    from ebm_refine.metrics.features import features_for
    from ebm_refine.metrics.memorisation import INDEX, nearest_training_image

    dataset = load(record.settings.model).config["data"]["dataset"]
    try:
        extractor = features_for(dataset)
    except InputError:
        return ""
    if INDEX not in extractor.tables:
        return ""
    found = nearest_training_image(record.after[number], extractor)
    kind = "worse" if found.percentile < SUSPECT else "same"
    verdict = "it may be a copy" if found.percentile < SUSPECT else "no sign of a copy"
    words = (
        f"Nearest training image: number {found.row}, at distance {found.distance:.2f} in features. Of {found.held_out} "
        f"held-out images, which are no copies, {percent(found.percentile / 100, 1)} lie nearer to theirs: {verdict}."
    )
    shown = f"<p class='verdict {kind}'>{html.escape(words)}</p>"
    return shown + (_pictures(record.after[number], dataset, data, found.row) if data is not None else "")


def _pictures(image: Tensor, dataset: str, data: str, row: int) -> str:
    # Imported here: `datasets` comes with the extra for training, and only who gives a folder needs it.
    from ebm_refine.data.images import training_image

    try:
        neighbour = training_image(dataset, data, row)
    except InputError as error:
        return f"<p class='small'>{html.escape(str(error))}</p>"
    if neighbour.shape != image.shape:
        return "<p class='small'>The folder given holds images of another size than the model's.</p>"
    both = render.data_uri(render.grid(torch.stack([image, neighbour]), columns=2, scale=SCALE))
    return f"<img class='copies' src='{both}' alt='The image and the training image nearest to it'>"
