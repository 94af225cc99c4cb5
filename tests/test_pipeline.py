"""The whole job on a small real pair: reproducible to the bit, whatever the number of images; beta = 0 is base."""

import json

import numpy as np
import pytest
import torch

import ebm_refine
from ebm_refine import pipeline
from ebm_refine.energies.targets import target_of
from ebm_refine.errors import InputError
from ebm_refine.result import Frame, RefineResult
from ebm_refine.samplers.loop import MAX_FRAMES
from ebm_refine.settings import resolve

FILES = {"before.png", "after.png", "samples.npz", "settings.json", "metrics.json"}
CASES = [("langevin", {"eps": 0.1}), ("rejection", {"options": {"gamma_percentile": 80.0}}), ("rejection", {})]


@pytest.mark.parametrize(("method", "arguments"), CASES)
@pytest.mark.slow
def test_images_do_not_depend_on_how_many_are_asked_for(tiny_pair, method, arguments):
    many = ebm_refine.refine(tiny_pair, method, n_steps=6, num_images=40, seed=3, **arguments)
    few = ebm_refine.refine(tiny_pair, method, n_steps=6, num_images=5, seed=3, **arguments)
    assert torch.equal(many.before[:5], few.before)
    assert torch.equal(many.after[:5], few.after)
    assert torch.equal(many.positions[:5], few.positions)
    assert torch.equal(many.ratio_after[:5], few.ratio_after)
    assert not torch.equal(many.before, many.after)
    other = ebm_refine.refine(tiny_pair, method, n_steps=6, num_images=5, seed=4, **arguments)
    assert not torch.equal(other.before, few.before)


@pytest.mark.parametrize(("method", "arguments"), CASES)
@pytest.mark.slow
def test_five_files_are_the_same_to_the_bit(tiny_pair, tmp_path, method, arguments):
    for name in ("one", "two"):
        ebm_refine.refine(tiny_pair, method, n_steps=4, num_images=9, **arguments).save(tmp_path / name)
    assert {file.name for file in (tmp_path / "one").iterdir()} == FILES
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_saved_arrays_and_settings_repeat_the_run(tiny_pair, tmp_path):
    result = ebm_refine.refine(tiny_pair, n_steps=4, num_images=9, seed=5)
    result.save(tmp_path)
    arrays = np.load(tmp_path / "samples.npz")
    assert arrays["before"].shape == arrays["after"].shape == (9, 3, 32, 32)
    assert arrays["positions"].shape == (9, 8)
    assert np.array_equal(arrays["energy_after"], result.energy_after.numpy())
    settings = json.loads((tmp_path / "settings.json").read_text())
    settings.pop("model")
    again = ebm_refine.refine(tiny_pair, **settings)
    assert torch.equal(again.after, result.after)


def test_energies_and_ratios_are_of_the_positions(tiny_pair):
    result = ebm_refine.refine(tiny_pair, eps=0.1, n_steps=3, num_images=4, ratio="calibrated", beta=2.0, precision="fp32")
    z = result.positions
    networks = result.checkpoint.networks
    with torch.no_grad():
        r = 0.5 * networks["discriminator"](networks["generator"](z)) + 0.1
    assert torch.allclose(result.ratio_after, r, atol=1e-5)
    assert torch.allclose(result.energy_after, z.square().sum(1) / 2 - 2.0 * r, atol=1e-4)
    assert torch.allclose(result.frames[-1].ratio, result.ratio_after, atol=1e-4)
    assert torch.equal(result.decode(z), result.after)


def test_raw_and_calibrated_differ_by_slope_and_intercept(tiny_pair):
    raw, calibrated = (ebm_refine.refine(tiny_pair, n_steps=1, num_images=4, ratio=r) for r in ("raw", "calibrated"))
    assert torch.allclose(calibrated.ratio_before, 0.5 * raw.ratio_before + 0.1, atol=1e-5)


@pytest.mark.parametrize("method", ["langevin", "rejection"])
@pytest.mark.slow
def test_beta_zero_gives_prior_samples(tiny_pair, method):
    """At beta = 0 rejection keeps every proposal, and Langevin's stationary law is the prior up to its known bias.

    The mean of |z|^2 over 2,000 chains against d / (1 - eps / 4): |z| < 3.9, false alarm 1e-4.
    """
    count, eps = 2000, 0.5
    result = ebm_refine.refine(tiny_pair, method, eps=eps, n_steps=30, num_images=count, beta=0.0)
    if method == "rejection":
        assert torch.equal(result.before, result.after)
        return
    squares = result.positions.double().square()
    expected = 1 / (1 - eps / 4)
    # From the prior, 30 steps leave (1 - eps/2)^60 < 1e-7 of the start's law.
    z = (squares.mean() - expected) / (squares.flatten().std() / squares.numel() ** 0.5)
    assert abs(z) < 3.9


@pytest.mark.slow
def test_stream_yields_every_step_then_the_result_and_keeps_few_frames(tiny_pair):
    items = list(ebm_refine.stream(tiny_pair, n_steps=150, num_images=2))
    frames, result = items[:-1], items[-1]
    assert all(isinstance(item, Frame) for item in frames)
    assert isinstance(result, RefineResult)
    assert [frame.step for frame in frames] == list(range(151))
    assert len(result.frames) == MAX_FRAMES
    assert result.trace_steps[0] == 0
    assert result.trace_steps[-1] == 150
    assert result.energy_trace.shape == (MAX_FRAMES, 2)


def test_stream_checks_at_the_call_and_can_be_closed(tiny_pair):
    with pytest.raises(InputError):
        ebm_refine.stream(tiny_pair, eps=float("nan"))
    stream = ebm_refine.stream(tiny_pair, n_steps=1000)
    next(stream)
    stream.close()
    assert next(stream, None) is None


def test_settings_travel_whole(tiny_pair):
    """`run` takes what `resolve` gave; its frames, result and files are those of `stream`."""
    checkpoint = ebm_refine.load(tiny_pair)
    settings = resolve("tiny", checkpoint.config, method="mala", n_steps=7, num_images=3, seed=2)
    *frames, result = pipeline.run(checkpoint, settings)
    *others, other = ebm_refine.stream(tiny_pair, "mala", n_steps=7, num_images=3, seed=2)
    assert result.settings is settings
    assert torch.equal(result.after, other.after)
    assert result.diagnostics == other.diagnostics
    assert [frame.mean_energy for frame in frames] == [frame.mean_energy for frame in others]
    few = list(pipeline.run(checkpoint, settings.changed(n_steps=150), every_step=False))
    assert [frame.step for frame in few[:-1]] == few[-1].trace_steps
    assert len(few) == MAX_FRAMES + 1


def test_a_run_is_checked_at_the_call(tiny_pair):
    checkpoint = ebm_refine.load(tiny_pair)
    settings = resolve("tiny", checkpoint.config)
    with pytest.raises(InputError, match="these settings are for model 'other'; got model 'tiny'"):
        pipeline.run(checkpoint, resolve("other", checkpoint.config))
    with pytest.raises(InputError, match="device must be one of cpu"):
        pipeline.run(checkpoint, settings, "cuda:7")
    with pytest.raises(InputError, match="precision must be one of auto, fp32, bf16; got 'half'"):
        pipeline.run(checkpoint, settings, precision="half")


@pytest.mark.slow
def test_a_law_of_its_own_is_sampled_by_the_same_loop(tiny_pair):
    """What a target was evaluated for before, by another run or for a report, is not counted again."""
    checkpoint = ebm_refine.load(tiny_pair)
    settings = resolve("tiny", checkpoint.config, method="mala", n_steps=7, num_images=3)
    target = target_of(checkpoint, settings.ratio, settings.beta)
    whole = ebm_refine.refine(tiny_pair, "mala", n_steps=7, num_images=3, precision="fp32")
    for _ in range(2):
        *frames, end = pipeline.run_target(target, settings)
        assert torch.equal(end.position, whole.positions)
        assert torch.equal(end.trace, whole.energy_trace)
        assert len(frames) == 8
        assert end.diagnostics.items() <= whole.diagnostics.items()
        assert (end.diagnostics["gradients_per_image"], end.diagnostics["pilot_gradients"]) == (8, 16 * 41)


def test_a_step_costs_one_forward_and_one_backward(tiny_pair):
    diagnostics = ebm_refine.refine(tiny_pair, n_steps=10, num_images=3).diagnostics
    # the start and ten steps; what the report evaluates is not counted
    assert diagnostics["gradients_per_image"] == 11
    assert diagnostics["forwards_per_image"] == 11
    assert "pilot_forwards" not in diagnostics


@pytest.mark.slow
def test_a_pilot_is_counted_apart(tiny_pair):
    """A tuned step costs a start and 40 steps of 16 chains, a bound 2,048 forward passes: neither is any image's."""
    tuned = ebm_refine.refine(tiny_pair, "mala", n_steps=10, num_images=3).diagnostics
    assert (tuned["pilot_forwards"], tuned["pilot_gradients"]) == (16 * 41, 16 * 41)
    assert (tuned["forwards_per_image"], tuned["gradients_per_image"]) == (11, 11)
    bounded = ebm_refine.refine(tiny_pair, "rejection", n_steps=1, num_images=3).diagnostics
    assert bounded["pilot_forwards"] == 2048
    assert bounded["forwards_per_image"] == 1


@pytest.mark.slow
def test_an_ignored_eps_is_said(tiny_pair):
    result = ebm_refine.refine(tiny_pair, "rejection", eps=0.1, num_images=2)
    assert result.diagnostics["ignored"] == "method rejection does not use eps"


def test_exhausted_budgets_are_counted(tiny_pair):
    result = ebm_refine.refine(tiny_pair, "rejection", n_steps=2, num_images=50, options={"log_bound": 40.0})
    assert result.diagnostics["budget_exhausted"] == 50
    assert result.diagnostics["acceptance_rate"] == 0.0
    assert result.diagnostics["proposals"] == 100
    # the fallback is the better of the two proposals
    assert (result.ratio_after >= result.ratio_before).all()
    assert (result.ratio_after > result.ratio_before).any()


def test_output_folder_that_is_a_file_or_unwritable_is_refused(tiny_pair, tmp_path):
    (tmp_path / "file").write_text("mine")
    result = ebm_refine.refine(tiny_pair, n_steps=1, num_images=1)
    with pytest.raises(InputError, match="is a file; name a folder"):
        result.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(InputError, match="cannot be written"):
        result.save("/proc/nowhere/out")


def test_the_accepted_share_is_of_transitions(tiny_pair):
    """Langevin takes every finite step, so the share is 1 to the digit: the start is no transition."""
    assert pipeline.refine(tiny_pair, "langevin", eps=1e-6, n_steps=3, num_images=4).diagnostics["accepted_share"] == 1.0
    result = pipeline.refine(tiny_pair, "rejection", n_steps=1, num_images=4, options={"log_bound": -1000.0})
    assert result.diagnostics["accepted_share"] == 1.0
