"""The autoencoder of a panel: it learns, and a stopped run goes on to the same bits."""

import contextlib

import pytest
import torch

from ebm_refine.models.networks.autoencoder import AutoencoderDiscriminator
from ebm_refine.models.networks.panel_encoders import PanelEncoders
from ebm_refine.training.algorithms.reconstruction import AutoencoderRecipe, train_autoencoder
from ebm_refine.training.common.resumable import Run

IMAGES = (torch.rand(64, 1, 1, 1, generator=torch.Generator().manual_seed(0)) * 255).expand(64, 1, 16, 16).to(torch.uint8)


class StopError(Exception):
    pass


def trained(folder, steps=12, stop_at=None):
    torch.manual_seed(3)
    network = AutoencoderDiscriminator((4, 8), channels=1, side=16, code=6, error="mean-square")
    run = Run(folder, resume=True)
    if stop_at is not None:
        save = run.save

        def stopping(state):
            save(state)
            if state["step"] >= stop_at:
                raise StopError

        run.save = stopping
    measured = train_autoencoder(network, AutoencoderRecipe(steps, batch_size=16, save_every=4), IMAGES, run, 0, "cpu")
    return network, measured


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole, _ = trained(tmp_path / "whole")
    with contextlib.suppress(StopError):
        trained(tmp_path / "parts", stop_at=4)
    parts, _ = trained(tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


@pytest.mark.slow
def test_flat_images_are_learned(tmp_path):
    _, early = trained(tmp_path / "early", steps=4)
    network, late = trained(tmp_path / "late", steps=150)
    assert late["loss"] < 0.3 * early["loss"]
    assert not network.training


def test_the_panel_keeps_the_encoder_alone():
    network = PanelEncoders(1, 16, (), (4, 8), 6)
    assert set(network.features(torch.zeros(3, 1, 16, 16))) == {"autoencoder"}
    both = PanelEncoders(3, 16, (4, 6, 8), (4, 8), 6).eval()(torch.zeros(3, 3, 16, 16))
    assert {kind: tuple(rows.shape) for kind, rows in both.items()} == {"contrastive": (3, 8), "autoencoder": (3, 6)}
