"""The public endpoint of energy-based GANs: `/energy_gan`. Name, order and defaults are fixed; `/refine` samples them."""

from typing import Any

import gradio as gr
import torch
from gradio.components.api_component import Api
from PIL import Image

from ebm_refine.energies import autoencoder_gan as energy_gans
from ebm_refine.ui.api.energy import given_digits
from ebm_refine.ui.components.run_bar import LANE
from ebm_refine.ui.tabs.energy import job as asking
from ebm_refine.ui.tabs.energy_gans import models as models_module
from ebm_refine.ui.tabs.refine.job import user_errors

_NULL = {"type": "null"}


def energy_gan(model, images=None, num_generated=8, seed=0) -> tuple[Image.Image, dict[str, Any]]:
    """What the autoencoder of an energy-based GAN makes of digits: each above its reconstruction, and energies D."""
    with user_errors():
        info = models_module.model_asked(model)
        pictures = [] if images is None else given_digits(images)
        given = torch.stack(pictures) if pictures else torch.empty(0, *info.shape)
        found = models_module.reconstructed(info.name, given, num_generated, seed)
        energies = found.seen.energies.tolist()
        return found.picture, {
            "model": found.model,
            "d_is": energy_gans.unit_of(info.config),
            "energies": energies[: found.given],
            "shares_of_real_above": found.shares_above,
            "generated_energies": energies[found.given :],
            "training": models_module.stored_curves(info),
        }


def add(demo: gr.Blocks) -> None:
    """Give the page its endpoint; it needs components, of which none is shown."""
    count, seed = models_module.COUNT, models_module.SEED
    gr.Button(visible=False).click(
        energy_gan,
        [
            _input("model", {"type": "string"}, "a pair that /models lists whose discriminator is an autoencoder"),
            _input(
                "images",
                {"anyOf": [{"type": "array", "items": {"type": "string"}}, _NULL]},
                f"image files in base64, {asking.MAX_CANDIDATES} at most; a grey one of 28 x 28 is taken as it is, any other "
                "prepared as MNIST's were",
            ),
            _input("num_generated", {"type": "integer"}, f"from 1 to {count.high}: {count.help}", count.default),
            _input("seed", {"type": "integer"}, seed.help, seed.default),
        ],
        [gr.Image(label="picture", format="png", visible=False), gr.JSON(label="answer", visible=False)],
        api_name="energy_gan", api_description=energy_gan.__doc__, preprocess=False, show_progress="hidden",
        concurrency_id=LANE, concurrency_limit=1,
    )  # fmt: skip


def _input(name: str, schema: dict[str, Any], description: str, default: Any = None) -> Api:
    return Api(default, {**schema, "description": description}, label=name)
