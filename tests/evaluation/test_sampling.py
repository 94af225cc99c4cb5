"""A job of many images in parts: the images of one run, progress, and going on after a stop."""

import pytest
import torch

import ebm_refine
from ebm_refine.evaluation import sampling
from ebm_refine.evaluation.jobs import plan
from ebm_refine.evaluation.sampling import sampled_in_parts


def own() -> ebm_refine.models.pair.Pair:
    def picture(z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(z[:, :1, None, None] * torch.linspace(-1, 1, 64).view(1, 1, 8, 8) + z[:, 1:, None, None])

    return ebm_refine.pair(picture, lambda x: 3 * x.mean((1, 2, 3)), latent=2)


@pytest.fixture
def counted(monkeypatch):
    """The numbers of the first images of all runs that are begun."""
    begun, run = [], sampling.run

    def counting(*arguments, **options):
        begun.append(options["first"])
        return run(*arguments, **options)

    monkeypatch.setattr(sampling, "run", counting)
    return begun


@pytest.mark.parametrize("method", ["mala", "elliptical-slice", "rejection"])
@pytest.mark.slow
def test_parts_are_the_whole_and_a_stopped_job_goes_on(method, tmp_path, monkeypatch, counted):
    mine = own()
    (job,) = plan(mine, [method], 150, [3], ["auto"], given={"n_steps": 6})
    arguments = (mine, job, "cpu", "auto", tmp_path / "job.json")
    whole = sampled_in_parts(*arguments, print)
    monkeypatch.setattr(sampling, "PART", 64)
    said = []
    counted.clear()

    def stops(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sampled_in_parts(*arguments, stops)
    assert said == ["64 of 150 images", "128 of 150 images"]
    again = sampled_in_parts(*arguments, said.append)
    assert counted == [0, 64, 128]
    assert torch.equal(again.before, whole.before)
    assert torch.equal(again.after, whole.after)
    for name in ("mean_ratio_after", "accepted_share", "forwards_per_image"):
        assert again.diagnostics[name] == pytest.approx(whole.diagnostics[name], rel=1e-4)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_part_is_made_anew_and_coupled_chains_are_one_part(tmp_path, monkeypatch, counted):
    mine = own()
    monkeypatch.setattr(sampling, "PART", 64)
    (tmp_path / "job-64.part.safetensors").write_bytes(b"damaged")
    (job, coupled) = (plan(mine, [method], 100, [0], ["auto"], given={"n_steps": 3})[0] for method in ("mala", "smc"))
    assert len(sampled_in_parts(mine, job, "cpu", "auto", tmp_path / "job.json", print).after) == 100
    assert counted == [0, 64]
    sampled_in_parts(mine, coupled, "cpu", "auto", tmp_path / "other.json", print)
    assert counted == [0, 64, 0]
