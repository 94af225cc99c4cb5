"""Own generators and scores: every usual form runs, and everything wrong is said in one sentence before a sample is made."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ebm_refine
from ebm_refine import InputError
from ebm_refine.models.pair import Pair
from ebm_refine.settings import methods_of

Z = 6


class Small(nn.Module):
    """(B, Z) or (B, Z, 1, 1) -> (B, C, S, S) in [-1, 1]."""

    def __init__(self, channels: int = 1, side: int = 8, maps: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.norm = nn.Linear(Z, 4 * (side // 2) ** 2), nn.BatchNorm2d(4)
        self.up, self.side, self.maps = nn.ConvTranspose2d(4, channels, 4, 2, 1), side, maps

    def forward(self, z: Tensor) -> Tensor:
        if self.maps and z.ndim != 4:
            raise ValueError("expected 4D input")
        return torch.tanh(self.up(torch.relu(self.norm(self.linear(z.flatten(1)).view(-1, 4, self.side // 2, self.side // 2)))))


class Score(nn.Module):
    def __init__(self, channels: int = 1, side: int = 8, form: tuple[int, ...] = (-1,), last: bool = False):
        super().__init__()
        torch.manual_seed(1)
        layers = [nn.Conv2d(channels, 4, 3, 2, 1), nn.LeakyReLU(0.2)]
        self.main = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * (side // 2) ** 2, 1), *([nn.Sigmoid()] if last else []))
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x).view(self.form)


def refined(pair: Pair, method: str = "langevin", **settings):
    return ebm_refine.refine(pair, method, **{"n_steps": 3, "num_images": 5, **settings})


@pytest.mark.parametrize("form", [(-1,), (-1, 1), (-1, 1, 1, 1)])
@pytest.mark.parametrize("latent", [Z, (Z, 1, 1)])
@pytest.mark.slow
def test_scores_and_latents_of_every_usual_form_give_the_same(form, latent):
    mine = ebm_refine.pair(Small(maps=latent != Z), Score(form=form), latent=latent)
    result = refined(mine)
    assert result.after.shape == (5, 1, 8, 8)
    assert torch.equal(result.after, refined(ebm_refine.pair(Small(), Score(), latent=Z)).after)
    assert not torch.equal(result.before, result.after)


def test_the_energy_is_the_prior_minus_the_logit():
    generator, score = Small(), Score()
    result = refined(ebm_refine.pair(generator, score, latent=Z), beta=2.0)
    z = result.positions
    with torch.no_grad():
        expected = z.square().sum(1) / 2 - 2.0 * score(generator(z))
    assert torch.allclose(result.energy_after, expected, atol=1e-4)
    assert torch.equal(result.after, ((generator(z) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))


@pytest.mark.parametrize(("output", "sign"), [("logit", 1), ("critic", 1), ("energy", -1), ("inverted", -1)])
def test_the_sign_of_a_score_is_what_output_says(output, sign):
    score = Score()
    result = refined(ebm_refine.pair(Small(), score, latent=Z, output=output))
    with torch.no_grad():
        assert torch.allclose(result.ratio_before, sign * score(result.before.float() / 127.5 - 1), atol=0.02)


def test_images_in_zero_to_one_are_shown_and_scored_in_their_own_range():
    generator, seen = Small(), []

    def score(x: Tensor) -> Tensor:
        seen.append((float(x.detach().min()), float(x.detach().max())))
        return x.flatten(1).sum(1)

    halved = ebm_refine.pair(lambda z: (generator.eval()(z) + 1) / 2, score, latent=Z, value_range=(0, 1))
    result = refined(halved, "mh-gan")
    assert torch.equal(result.before, refined(ebm_refine.pair(generator, Score(), latent=Z)).before)
    assert all(low >= -1e-5 and high <= 1 + 1e-5 for low, high in seen[3:5])
    assert torch.allclose(result.ratio_before, (result.before / 255.0).flatten(1).sum(1), atol=0.2)


def test_a_uniform_prior_gives_latents_in_the_box():
    given = []

    def generator(z: Tensor) -> Tensor:
        given.append(z.detach())
        return z

    mine = ebm_refine.pair(generator, lambda x: 1.5 * x[:, 0], latent=2, prior="uniform")
    result = ebm_refine.refine(mine, "mala", n_steps=40, num_images=3000)
    assert max(float(z.abs().max()) for z in given) <= 1
    mean = 1 / math.tanh(1.5) - 1 / 1.5
    assert abs(float(result.after[:, 0].mean()) - mean) < 4 * 0.6 / math.sqrt(3000)


@pytest.mark.slow
def test_an_own_prior_is_sampled_and_weighed():
    """z ~ N(3, 0.5^2) and r = z: the law is N(3 + 0.25, 0.5^2)."""
    prior = (lambda noise: 3 + 0.5 * noise, lambda z: -((z - 3) ** 2).flatten(1).sum(1) / (2 * 0.25))
    mine = ebm_refine.pair(lambda z: z, lambda x: x[:, 0], latent=1, prior=prior)
    for method in ("mala", "i-sir", "rejection"):
        result = ebm_refine.refine(mine, method, n_steps=60, num_images=2000, seed=1)
        assert abs(float(result.before.mean()) - 3) < 4 * 0.5 / math.sqrt(2000)
        assert abs(float(result.after.mean()) - 3.25) < 4 * 0.5 / math.sqrt(2000)
    assert not {"elliptical-slice", "langevin-exact"} & set(methods_of(mine.config))


def test_labels_reach_both_networks_and_stay_with_their_chains():
    table = torch.tensor([-0.9, 0.0, 0.9])

    def generator(z: Tensor, labels: Tensor) -> Tensor:
        assert labels.dtype == torch.int64
        return (table[labels][:, None, None, None] + 0.01 * z[:, :1, None, None].tanh()).expand(-1, 1, 4, 4)

    mine = ebm_refine.pair(generator, lambda x, y: x.mean((1, 2, 3)) * (y + 1), latent=Z, labels=3)
    result = refined(mine, num_images=30)
    assert ((result.after.float().mean((1, 2, 3)) / 127.5 - 1).sub(table[result.labels]).abs() < 0.02).all()
    assert len(set(result.labels.tolist())) == 3
    assert refined(mine, label=1).labels.tolist() == [1] * 5
    unconditional = ebm_refine.pair(generator, lambda x: x.mean((1, 2, 3)), latent=Z, labels=[0.5, 0.5, 0.0])
    assert set(refined(unconditional, num_images=40).labels.tolist()) == {0, 1}
    with pytest.raises(InputError, match="label must be a whole number from 0 to 2; got 3"):
        refined(mine, label=3)


def test_a_score_in_numpy_runs_without_gradients_and_says_so_otherwise():
    mine = ebm_refine.pair(Small(), lambda x: np.asarray(x).mean((1, 2, 3)), latent=Z)
    for method in methods_of(mine.config):
        result = refined(mine, method)
        assert torch.allclose(result.ratio_after, (result.after / 127.5 - 1).mean((1, 2, 3)), atol=0.01)
    assert {"rejection", "mh-gan", "i-sir"} <= set(methods_of(mine.config))
    with pytest.raises(InputError, match="method 'langevin' follows gradients, but the score is not differentiable"):
        refined(mine, "langevin")


def test_vectors_are_points_of_any_dimension(tmp_path):
    mine = ebm_refine.pair(nn.Linear(Z, 5), nn.Linear(5, 1), latent=Z, name="table")
    result = refined(mine, num_images=20)
    assert result.after.shape == (20, 5)
    assert result.after.dtype == torch.float32
    result.save(tmp_path / "out")
    assert (tmp_path / "out" / "after.png").exists()


def test_memory_is_bounded_by_the_size_of_an_image():
    widest = []

    def generator(z: Tensor) -> Tensor:
        widest.append(len(z))
        return z[:, :1, None, None].tanh().expand(-1, 3, 256, 256)

    mine = ebm_refine.pair(generator, lambda x: x.mean((1, 2, 3)), latent=Z)
    widest.clear()
    refined(mine, num_images=20)
    assert max(widest) == mine.chunk("cpu") == 4


def test_images_do_not_depend_on_how_many_are_asked_for():
    mine = ebm_refine.pair(Small(), Score(), latent=Z)
    assert torch.equal(refined(mine, "mala", num_images=70).after[:5], refined(mine, "mala").after)


def test_modules_are_frozen_in_eval_mode_and_old_spectral_norm_runs_after_a_training_forward():
    score = Score()
    score.main[0] = nn.utils.spectral_norm(score.main[0])
    generator = Small()
    score(generator(torch.randn(4, Z))).sum().backward()  # a deep copy fails from here on
    mine = ebm_refine.pair(generator, score, latent=Z)
    assert not generator.training
    assert not score.training
    assert not any(parameter.requires_grad for parameter in (*generator.parameters(), *score.parameters()))
    before = {key: value.clone() for key, value in score.state_dict().items()}
    refined(mine)
    assert all(torch.equal(value, before[key]) for key, value in score.state_dict().items())


def test_embeddings_keep_whole_labels():
    class Conditional(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.linear = nn.Embedding(4, Z), nn.Linear(Z, 16)

        def forward(self, z: Tensor, labels: Tensor) -> Tensor:
            return torch.tanh(self.linear(z + self.table(labels))).view(-1, 1, 4, 4)

    assert refined(ebm_refine.pair(Conditional(), lambda x: x.mean((1, 2, 3)), latent=Z, labels=4)).after.shape == (5, 1, 4, 4)


def test_callables_that_write_into_what_they_are_given_change_nothing():
    good = Small().eval()
    halved = ebm_refine.pair(lambda z: good(z.mul_(0.5)), lambda x: FINE(x.sub_(0.25)), latent=Z)
    plain = ebm_refine.pair(lambda z: good(z * 0.5), lambda x: FINE(x - 0.25), latent=Z)
    for method in ("langevin", "mh-gan"):
        one, other = (refined(mine, method) for mine in (halved, plain))
        assert torch.equal(one.before, other.before)
        assert torch.equal(one.after, other.after)
        assert torch.equal(one.energy_after, other.energy_after)

    def in_numpy(x):
        values = x.numpy()
        values *= 2
        return values.mean((1, 2, 3))

    one, other = (
        refined(ebm_refine.pair(GOOD, score, latent=Z), "mh-gan") for score in (in_numpy, lambda x: 2 * x.mean((1, 2, 3)))
    )
    assert torch.equal(one.after, other.after)


def test_torchscript_modules_run():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Small().eval(), torch.randn(2, Z))
    one, other = (refined(ebm_refine.pair(g, FINE, latent=Z)) for g in (traced, GOOD))
    assert torch.equal(one.after, other.after)


def test_modules_in_double_and_in_half_run_in_what_they_have():
    result = refined(ebm_refine.pair(Small().double(), Score().double(), latent=Z))
    assert torch.equal(result.before, refined(ebm_refine.pair(Small(), Score(), latent=Z)).before)
    with pytest.raises(InputError, match="precision bf16"):
        refined(ebm_refine.pair(Small(), Score(), latent=Z), precision="bf16")


def test_a_generator_without_a_score_says_what_it_needs():
    mine = ebm_refine.pair(Small(), latent=Z)
    assert methods_of(mine.config) == ()
    with pytest.raises(InputError, match="no score yet: give it a discriminator, or fit a ratio"):
        refined(mine)


def spoiled(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = math.nan
    return network


def noisy(z: Tensor) -> Tensor:
    return GOOD(z + torch.randn_like(z))


def batch_dependent(x: Tensor) -> Tensor:
    return x.mean((1, 2, 3)) + x.std()


GOOD, FINE = Small(), Score()
WRONG = {
    "no callable": (lambda: ebm_refine.pair("G", FINE, latent=Z), "generator must be a callable"),
    "no score": (lambda: ebm_refine.pair(GOOD, 3, latent=Z), "discriminator must be a callable"),
    "latent": (lambda: ebm_refine.pair(GOOD, FINE, latent=0), "latent must be"),
    "latent of words": (lambda: ebm_refine.pair(GOOD, FINE, latent="64"), "latent must be"),
    "wrong latent": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z + 1), "generator fails on latents of shape"),
    "latent as maps": (lambda: ebm_refine.pair(Small(maps=True), FINE, latent=Z), r"it runs with latent=\(6, 1, 1\)"),
    "prior": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, prior="cauchy"), "prior must be"),
    "prior that draws": (
        lambda: ebm_refine.pair(GOOD, FINE, latent=Z, prior=(torch.randn_like, lambda z: -z.square().sum(1))),
        "must be a function of the noise",
    ),
    "prior of a wrong shape": (
        lambda: ebm_refine.pair(GOOD, FINE, latent=Z, prior=(lambda n: n[:, :2], lambda z: z.sum(1))),
        "the prior's sample gives|the prior fails",
    ),
    "output": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, output="prob"), "output must be one of logit, critic"),
    "range": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, value_range=(1, -1)), "low < high"),
    "range of one": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, value_range=3), "two numbers"),
    "values beyond": (lambda: ebm_refine.pair(lambda z: 255 * GOOD(z), FINE, latent=Z), "outside value_range"),
    "one class": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, labels=1), "labels must be"),
    "probabilities": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, labels=[0.5, 0.6]), "labels must be"),
    "one probability": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, labels=np.array([1.0])), "labels must be"),
    "prior of NaN": (
        lambda: ebm_refine.pair(GOOD, FINE, latent=Z, prior=(lambda n: n * math.nan, lambda z: -z.square().sum(1))),
        "latents or log densities that are not finite",
    ),
    "more classes than it knows": (
        lambda: ebm_refine.pair(lambda z, y: GOOD(z) + 0 * torch.eye(10)[y].sum(), FINE, latent=Z, labels=100),
        "the generator fails on .*; it knows the classes 0 to 9, so give labels=10",
    ),
    "labels not taken": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, labels=3), "the generator fails on .* and labels"),
    "NaN in G": (lambda: ebm_refine.pair(spoiled(Small()), FINE, latent=Z), "NaN in its weights"),
    "NaN in D": (lambda: ebm_refine.pair(GOOD, spoiled(Score()), latent=Z), "NaN in its weights"),
    "noise of its own": (lambda: ebm_refine.pair(noisy, FINE, latent=Z), "noise of its own"),
    "ignores z": (lambda: ebm_refine.pair(lambda z: torch.zeros(len(z), 1, 8, 8), FINE, latent=Z), "ignores its latent"),
    "three axes": (lambda: ebm_refine.pair(lambda z: z[:, None], FINE, latent=Z), "images .B, C, H, W. or vectors"),
    "channels last": (lambda: ebm_refine.pair(lambda z: GOOD(z).permute(0, 2, 3, 1), FINE, latent=Z), "channels come first"),
    "two channels": (lambda: ebm_refine.pair(Small(channels=2), FINE, latent=Z), "2 channels"),
    "a tuple": (lambda: ebm_refine.pair(lambda z: (GOOD(z), z), FINE, latent=Z), "not a tensor: give a function that takes"),
    "wrong size": (lambda: ebm_refine.pair(GOOD, Score(side=16), latent=Z), "the discriminator fails on samples of shape"),
    "wrong channels": (lambda: ebm_refine.pair(GOOD, Score(channels=3), latent=Z), "the discriminator fails on samples"),
    "patches": (lambda: ebm_refine.pair(GOOD, lambda x: x, latent=Z), "one number each is needed"),
    "constant": (lambda: ebm_refine.pair(GOOD, lambda x: torch.ones(len(x)), latent=Z), "whatever it is shown"),
    "random score": (lambda: ebm_refine.pair(GOOD, lambda x: torch.randn(len(x)), latent=Z), "noise of its own"),
    "minibatch": (lambda: ebm_refine.pair(GOOD, batch_dependent, latent=Z), "depends on the others in the batch"),
    "training mode": (
        lambda: ebm_refine.pair(lambda z: Small().train()(z), FINE, latent=Z),
        "samples depend on the others in the batch",
    ),
    "sigmoid": (lambda: ebm_refine.pair(GOOD, Score(last=True), latent=Z), "ends in a sigmoid"),
    "name": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, name=""), "name must be"),
    "name of a path": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, name="../mine"), "no slashes"),
    "name of lines": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, name="my\nGAN"), "no line breaks"),
    "long name": (lambda: ebm_refine.pair(GOOD, FINE, latent=Z, name="G" * 101), "at most 100 characters"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(wrong):
    call, expected = WRONG[wrong]
    with pytest.raises(InputError, match=expected) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_looks_wrong_is_warned_of():
    with pytest.warns(UserWarning, match=r"value_range=\(0, 1\)"):
        ebm_refine.pair(lambda z: (GOOD(z) + 1) / 2, FINE, latent=Z)
    with pytest.warns(UserWarning, match="probabilities"):
        ebm_refine.pair(GOOD, lambda x: torch.sigmoid(FINE(x)), latent=Z)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ebm_refine.pair(GOOD, FINE, latent=Z)
