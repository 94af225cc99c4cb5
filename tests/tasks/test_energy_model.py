"""Questions put to whole models: tiny random energies of digits, with and without labels, and one that a generator begins."""

from collections import deque
from pathlib import Path

import pytest
import torch
from conftest import save_tiny_energies

from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
from ebm_refine.result import Frame
from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.tasks import energy_model as answers
from ebm_refine.tasks import masks
from ebm_refine.tasks import ood_detection as detection
from ebm_refine.tasks import synthetic_digits as patterns
from ebm_refine.tasks.conditional import Completion
from ebm_refine.tasks.energy_model import Chains, EnergyModel, chain_settings

DIGITS = patterns.written(range(10), 28)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_energies(tmp_path_factory.mktemp("energies"))


@pytest.fixture(scope="module")
def models(folder) -> dict[str, EnergyModel]:
    return {name: EnergyModel(load_checkpoint(folder / name)) for name in ("tiny-ebm", "tiny-jem", "tiny-gan-ebm")}


def settings_of(model: EnergyModel, sampler: str = "short-run", **arguments):
    arguments = {"num_images": 3, "n_steps": 4, **arguments}
    return chain_settings(model.checkpoint.name, model.checkpoint.config, sampler, **arguments)


def end(stages) -> Chains:
    (last,) = deque(stages, maxlen=1)
    return last


@pytest.mark.parametrize("sampler", answers.SAMPLERS)
@pytest.mark.slow
def test_a_chain_depends_on_its_seed_and_number_alone(models, sampler):
    model = models["tiny-ebm"]
    few = end(answers.sample(model, settings_of(model, sampler)))
    many = end(answers.sample(model, settings_of(model, sampler, num_images=19)))
    assert torch.equal(few.after, many.after[:3])
    assert torch.equal(few.film, many.film[:, :3])
    assert not torch.equal(few.before, few.after)
    assert not torch.equal(few.after, end(answers.sample(model, settings_of(model, sampler, seed=1))).after)
    assert few.film.shape == (5, 3, 1, 28, 28)
    assert few.steps == [0, 1, 2, 3, 4]
    assert torch.equal(few.film[-1], few.after)


def test_only_the_recipes_sampler_is_cold(models):
    model = models["tiny-ebm"]
    temperatures = {name: settings_of(model, name).values["temperature"] for name in answers.SAMPLERS}
    assert temperatures == {"short-run": 1.25e-6, "langevin": 1.0, "mala": 1.0}
    assert settings_of(model, "langevin", temperature=0.5).values["temperature"] == 0.5


def test_chains_of_a_joint_model_begin_at_its_generator(models):
    model = models["tiny-gan-ebm"]
    assert torch.equal(
        end(answers.sample(model, settings_of(model))).before, model.target.decode(model.target.init(0, torch.arange(3)))
    )


def test_energies_are_those_of_the_images(models):
    model = models["tiny-jem"]
    chains = end(answers.sample(model, settings_of(model, n_steps=30)))
    assert torch.allclose(model.energy(chains.after / 127.5 - 1), chains.energy_after, atol=0.02)
    assert chains.energy_after.mean() < chains.energy_before.mean()
    assert torch.allclose(chains.trace[-1], chains.energy_after, atol=1e-5)


def test_a_given_label_lowers_its_own_energy(models):
    model = models["tiny-jem"]
    label = 7
    free, given = (end(answers.sample(model, settings_of(model, n_steps=60), which)) for which in (None, label))
    own = [float(model.label_energies(one.after / 127.5 - 1)[:, label].mean()) for one in (free, given)]
    assert own[1] < own[0]
    assert torch.allclose(given.trace[-1], model.label_energies(given.after / 127.5 - 1)[:, label], atol=0.05)


@pytest.mark.parametrize("sampler", answers.SAMPLERS)
def test_seen_pixels_of_a_completion_are_those_of_the_digit(models, sampler):
    model, missing = models["tiny-ebm"], masks.mask("right", 0.5, 28)
    chains = end(answers.complete(model, DIGITS[3], missing, settings_of(model, sampler)))
    seen = (~missing).expand(3, 1, 28, 28)
    exact = model.target.decode(DIGITS[3][None]).expand(3, 1, 28, 28)
    for images in (chains.before, chains.after):
        assert torch.equal(images[seen], exact[seen])
        assert (images[~seen] != exact[~seen]).float().mean() > 0.5
    assert len({tuple(one.flatten().tolist()) for one in chains.after}) == 3


@pytest.mark.parametrize("sampler", answers.SAMPLERS)
@pytest.mark.slow
def test_chains_are_watched_as_whole_images_and_diagnosed_as_every_run_is(models, sampler):
    model, missing = models["tiny-ebm"], masks.mask("right", 0.5, 28)
    settings = settings_of(model, sampler, num_images=4, n_steps=40)
    *frames, chains = answers.complete(model, DIGITS[3], missing, settings)
    assert [frame.step for frame in frames] == list(range(41))
    assert all(isinstance(frame, Frame) and frame.positions.shape == (4, 1, 28, 28) for frame in frames)
    assert torch.equal(model.target.decode(frames[-1].positions), chains.after)
    assert torch.equal(model.target.decode(frames[0].positions), chains.before)
    assert chains.diagnostics["forwards_per_image"] == chains.diagnostics["gradients_per_image"] == 41
    assert ("energy_split_rhat" in chains.diagnostics) == (sampler != "short-run")


def test_a_step_of_missing_pixels_can_be_recorded(models):
    """A mask of bools has the device wait for Python, which no CUDA graph can hold: so indices are used."""
    law = Completion(models["tiny-ebm"].target, DIGITS[3], masks.mask("right", 0.5, 28))
    assert law.indices.dtype == torch.int64
    position = law.start(Draws(0, torch.arange(2), 0), Stream.INIT)
    whole = law.whole(position)
    assert torch.equal(whole[:, law.missing], position)
    energy, grad = law.energy_and_grad(position)
    assert torch.equal(grad, models["tiny-ebm"].target.energy_and_grad(whole)[1][:, law.missing])
    assert torch.equal(energy, models["tiny-ebm"].target.energy_and_grad(whole)[0])


def test_denoising_begins_at_the_noisy_image_and_the_data_hold_it_there(models):
    model = models["tiny-ebm"]
    noisy = answers.noisy(model, DIGITS[4], 0.5, seed=2)
    chains = end(answers.denoise(model, noisy, 0.01, settings_of(model, "langevin", eps=1e-5, n_steps=50)))
    assert torch.equal(chains.before, model.target.decode(noisy[None]).expand(3, 1, 28, 28))
    # With so little noise the posterior is the observation itself.
    assert (chains.after.float() - chains.before.float()).abs().max() < 12


@pytest.mark.slow
def test_detection_uses_the_energies_that_come_with_a_model(models, folder, tmp_path):
    model = models["tiny-ebm"]
    found = answers.detect(model, DIGITS[0])
    assert found.measured_on == "200 digits drawn in code"
    assert found.energy == pytest.approx(float(model.energy(DIGITS[:1])))
    table = {"digits": torch.tensor([found.energy - 1, found.energy + 1]), "clothes": torch.tensor([found.energy, 100.0])}
    checkpoint = model.checkpoint
    part = {"energy": Part("energy-cnn", checkpoint.config["parts"]["energy"]["arguments"], checkpoint.networks["energy"])}
    save_checkpoint(
        tmp_path / "with",
        {key: checkpoint.config[key] for key in ("kind", "data", "training")},
        part,
        "",
        {detection.REFERENCE: table},
    )
    found = answers.detect(EnergyModel(load_checkpoint(tmp_path / "with")), DIGITS[0])
    assert found.measured_on == "2 held-out digits"
    assert found.share_above == 0.5
    assert found.aurocs == {"clothes": 0.75}


def test_ranking_is_by_density_and_ratios_are_to_the_first(models):
    model = models["tiny-ebm"]
    ranking = answers.rank(model, DIGITS)
    energies = model.energy(DIGITS)
    assert torch.equal(energies[ranking.order], energies.sort().values)
    assert torch.allclose(ranking.log_ratios, energies[0] - energies)
    variants = answers.variants(DIGITS[0], 1)
    assert list(variants) == ["the digit itself", *detection.OTHERS]
    assert all(one.shape == (1, 28, 28) for one in variants.values())


def test_labels_are_those_of_the_network(models):
    model = models["tiny-jem"]
    found = answers.classify(model, DIGITS, 2.0)
    logits = model.checkpoint.networks["energy"].logits(DIGITS)
    assert torch.allclose(found.energies, -logits, atol=1e-4)
    assert torch.equal(found.labels, logits.argmax(dim=1))
    assert torch.allclose(found.log_probabilities, (2 * logits).log_softmax(dim=1), atol=1e-3)
    assert torch.allclose(model.energy(DIGITS), -logits.logsumexp(dim=1), atol=1e-4)
    assert torch.equal(model.label_energies(DIGITS)[4], model.label_energies(DIGITS[4:5])[0])


def test_a_row_is_read_under_its_rule(models):
    model = models["tiny-jem"]
    free = answers.read(model, DIGITS[:4], "none", 5.0)
    assert torch.equal(free.alone, free.together)
    assert free.energy_enumerated == pytest.approx(free.energy_together)
    assert free.rows == 10**4
    counted = answers.read(model, DIGITS, "never falls", 1000.0)
    assert (counted.together.diff() >= 0).all()
    assert counted.energy_together <= counted.energy_alone
    assert counted.energy_enumerated is None


def test_what_a_model_cannot_answer_is_one_sentence(models, tiny_pair):
    with pytest.raises(InputError, match="model 'tiny-ebm' has no labels: this question needs an energy E"):
        answers.classify(models["tiny-ebm"], DIGITS, 1.0)
    with pytest.raises(InputError, match="model 'tiny' has no energy of grey square images"):
        EnergyModel(load_checkpoint(tiny_pair))
    for label in (10, -1, True, "3", 2.0):
        with pytest.raises(InputError, match="label must be a whole number from 0 to 9; got "):
            models["tiny-jem"].law(label)
    with pytest.raises(InputError, match="sampler must be one of short-run, langevin, mala; got 'hmc'"):
        settings_of(models["tiny-ebm"], "hmc")
    with pytest.raises(InputError, match="rule must be one of none, never falls, "):
        answers.read(models["tiny-jem"], DIGITS, "always", 1.0)
