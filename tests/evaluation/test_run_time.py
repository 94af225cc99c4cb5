"""The estimate of a run's time: its operations are those that torch counts, and it grows with what a run evaluates."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ebm_refine.catalogue import list_models
from ebm_refine.energies.targets import target_of
from ebm_refine.evaluation.run_time import COMPARING_PASSES, REPORT_PASSES, START_SECONDS, RunTime, a_pass, run_time
from ebm_refine.models.checkpoint import Checkpoint, load_checkpoint
from ebm_refine.settings import Settings, resolve


@pytest.fixture
def tiny(tiny_pair: Path) -> Checkpoint:
    return load_checkpoint(tiny_pair)


def settings(checkpoint: Checkpoint, **arguments) -> Settings:
    return resolve(checkpoint.name, checkpoint.config, **arguments)


@pytest.mark.slow
def test_the_operations_are_those_that_torch_counts(tiny):
    target = target_of(tiny, "calibrated")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        target.differentiable_energy(torch.zeros(1, 8))
    operations, operators = a_pass(tiny, settings(tiny))
    assert operations == counter.get_total_flops() > 100_000
    assert operators > 10


def test_an_image_costs_the_passes_of_its_chain(tiny):
    """A gradient counts as two passes; the start is one more of them, and the report so many."""
    a_step = {n: run_time(tiny, settings(tiny, n_steps=n)).image for n in (10, 20)}
    one = (a_step[20] - a_step[10]) / 20
    assert a_step[10] == pytest.approx((2 * 11 + REPORT_PASSES) * one)
    forwards = run_time(tiny, settings(tiny, method="mh-gan", n_steps=10)).image
    assert forwards == pytest.approx((11 + REPORT_PASSES) * one)


def test_a_pilot_costs_once(tiny):
    """The pilot tunes a step with 16 chains of 41 gradients, however many images follow."""
    given, tuned = (run_time(tiny, settings(tiny, method="mala", n_steps=10, eps=eps)) for eps in (0.1, None))
    assert tuned.image == given.image
    one = given.image / (22 + REPORT_PASSES)
    assert tuned.start - given.start == pytest.approx(2 * 16 * 41 * one)


def test_images_within_a_time():
    found = RunTime(2.0, 0.5)
    assert (found.images_within(12.0), found.images_within(12.4), found.images_within(1.0)) == (20, 20, 0)
    assert found.seconds(20) == 12.0


def test_classes_are_sampled_apart():
    """Ten classes have ten pilots and ten batches a step; one chosen class has one of each."""
    models = {model.name: model for model in list_models()}
    if "mnist-cgan" not in models:
        pytest.skip("no conditional model is embedded")
    checkpoint = load_checkpoint(models["mnist-cgan"].folder)
    every, one = (
        run_time(checkpoint, settings(checkpoint, method="elliptical-slice", n_steps=25, label=label)) for label in (None, 3)
    )
    assert every.image == one.image
    comparing = COMPARING_PASSES * one.image / (1 + 25 + REPORT_PASSES)
    assert every.start - START_SECONDS - comparing == pytest.approx(10 * (one.start - START_SECONDS))


def test_bits_have_no_such_cost(tiny):
    data = {"shape": [1, 28, 28], "range": [0, 1], "dataset": "mnist"}
    bits = resolve("bits", {"kind": "dbn", "data": data, "parts": {"energy": {}}, "defaults": {"method": "gibbs"}})
    with pytest.raises(ValueError, match="method 'gibbs' has no cost"):
        run_time(tiny, bits)
