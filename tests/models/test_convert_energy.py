"""Import of public energies and of perceptron pairs: outputs agree with the original, what does not fit is refused."""

import pytest
import torch
from torch import nn

import ebm_refine
from ebm_refine import catalogue
from ebm_refine.cli import main
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models.convert.convert import import_energy, import_pair
from ebm_refine.tasks import synthetic_digits as patterns
from ebm_refine.ui.tabs.energy import job as asking
from ebm_refine.ui.tabs.refine import job as running

WIDTHS = (4, 6, 8, 8)


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class PublicCNN(nn.Module):
    """The tutorial's network, as its notebook writes it."""

    def __init__(self, out=1, widths=WIDTHS, between=None):
        super().__init__()
        one, two, three, four = widths
        layers = [nn.Conv2d(1, one, 5, stride=2, padding=4), Swish(), nn.Conv2d(one, two, 3, stride=2, padding=1), Swish()]
        layers += [
            nn.Conv2d(two, three, 3, stride=2, padding=1),
            Swish(),
            nn.Conv2d(three, four, 3, stride=2, padding=1),
            Swish(),
        ]
        layers += [nn.Flatten(), nn.Linear(four * 4, four), Swish(), *([between] if between else []), nn.Linear(four, out)]
        self.cnn_layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.cnn_layers(x).squeeze(dim=-1)


class PublicModule(nn.Module):
    """The Lightning module around it."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.cnn = PublicCNN(**options)


def lightning(module: nn.Module) -> dict:
    """What Lightning writes beside the weights, as far as it is plain data."""
    return {
        "epoch": 59, "global_step": 25320, "pytorch-lightning_version": "1.0.2", "state_dict": module.state_dict(),
        "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [{"gamma": 0.97}], "hparams_name": "kwargs",
        "hyper_parameters": {"img_shape": (1, 28, 28), "batch_size": 128, "alpha": 0.1, "lr": 1e-4, "beta1": 0.0},
    }  # fmt: skip


@pytest.fixture
def public(tmp_path):
    module = PublicModule()
    torch.save(lightning(module), tmp_path / "MNIST.ckpt")
    return module, tmp_path / "MNIST.ckpt", tmp_path / "energy"


def test_an_energy_is_minus_the_public_networks_output_and_works_like_a_native_one(public):
    module, file, out = public
    checkpoint = import_energy(file, out, dataset="mnist", source="somewhere", license="cc-by-4.0")
    images = 2 * torch.rand(5, 1, 28, 28) - 1
    with torch.no_grad():
        torch.testing.assert_close(checkpoint.networks["energy"](images), -module.cnn(images), rtol=1e-5, atol=1e-5)
    assert checkpoint.kind == "energy"
    assert checkpoint.config["data"]["shape"] == [1, 28, 28]
    result = ebm_refine.refine(out, "short-run", n_steps=3, num_images=2)
    assert result.after.shape == (2, 1, 28, 28)
    assert result.ratio_after is None
    card = (out / "README.md").read_text()
    assert "minus the energy" in card
    assert "somewhere" in card


@pytest.mark.slow
def test_an_imported_energy_is_asked_like_a_native_one(public, tmp_path, monkeypatch):
    """In the embedded folder it is on the page and in the API, which ask by name; its own default is its recipe's run."""
    _, file, _ = public
    import_energy(file, tmp_path / "embedded" / "theirs", dataset="mnist")
    monkeypatch.setattr(catalogue, "EMBEDDED", tmp_path / "embedded")
    assert list(asking.energy_models()) == ["theirs"]
    assert list(running.refinable_models()) == ["theirs"]
    assert (running.checked("theirs", {}).method, running.checked("theirs", {}).n_steps) == ("short-run", 256)
    assert "no samples of exp(-E)" in (tmp_path / "embedded" / "theirs" / "README.md").read_text()
    seven = patterns.written([7], 28)[0]
    *_, chains = asking.ask(asking.completion("theirs", seven, "left", 0.5, "short-run", n_steps=2, num_images=3))
    assert chains.after.shape == (3, 1, 28, 28)
    assert torch.equal(chains.after[:, 0, :, 14:], chains.before[:, 0, :, 14:])
    *_, found = asking.ask(asking.detection("theirs", seven))
    assert 0 <= found.aurocs["inverted"] <= 1


def test_ten_outputs_are_a_classifiers_logits(tmp_path):
    module = PublicModule(out=10)
    torch.save(module.state_dict(), tmp_path / "jem.pth")
    network = import_energy(tmp_path / "jem.pth", tmp_path / "jem", dataset="mnist").networks["energy"]
    images = 2 * torch.rand(5, 1, 28, 28) - 1
    with torch.no_grad():
        torch.testing.assert_close(network(images), -module.cnn(images).logsumexp(1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(network.logits(images), module.cnn(images), rtol=1e-5, atol=1e-5)


def test_command_line_imports_an_energy(public, capsys):
    _, file, out = public
    assert main(["import", str(file), "--kind", "energy", "--dataset", "mnist", "--out", str(out)]) == 0
    assert "energy: energy-cnn" in capsys.readouterr().out
    assert main(["import", str(file), str(file), "--kind", "energy", "--dataset", "mnist", "--out", str(out)]) == 2
    assert "an energy is one file" in capsys.readouterr().err


def test_an_energy_of_another_shape_is_refused(tmp_path):
    def refusal(module: nn.Module, **options) -> str:
        torch.save(module.state_dict(), tmp_path / "e.pth")
        with pytest.raises(CheckpointError) as caught:
            import_energy(tmp_path / "e.pth", tmp_path / "out", dataset="mnist", **options)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert "images of 64 pixels do not give" in refusal(PublicModule(), image_size=64)
    assert "lies something else" in refusal(PublicModule(between=nn.Dropout()))
    three_by_three = nn.Sequential(nn.Conv2d(1, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.SiLU(), nn.Linear(4, 1))
    assert "is not the common energy" in refusal(three_by_three)
    assert "no layer of" in refusal(nn.Sequential(nn.LSTM(3, 4)))


def test_a_lightning_file_with_objects_is_refused_without_running_them(public):
    module, file, out = public
    torch.save({**lightning(module), "callbacks": {PublicModule: {"best": 1}}}, file)
    with pytest.raises(CheckpointError, match="only running code"):
        import_energy(file, out, dataset="mnist")


def perceptrons(hidden=16, activation=nn.ReLU):
    torch.manual_seed(0)
    generator = nn.Sequential(
        nn.Linear(6, hidden), activation(), nn.Linear(hidden, hidden), activation(), nn.Linear(hidden, 784), nn.Tanh()
    )
    discriminator = nn.Sequential(
        nn.Linear(784, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, 1),
        nn.Sigmoid(),
    )
    return generator, discriminator


def saved(folder, generator, discriminator):
    torch.save(generator.state_dict(), folder / "G.ckpt")
    torch.save(discriminator.state_dict(), folder / "D.ckpt")
    return folder / "G.ckpt", folder / "D.ckpt", folder / "pair"


def test_a_pair_of_perceptrons_keeps_its_outputs_and_loses_its_sigmoid(tmp_path):
    generator, discriminator = perceptrons()
    checkpoint = import_pair(*saved(tmp_path, generator, discriminator), dataset="mnist")
    latents = torch.randn(5, 6)
    with torch.no_grad():
        images = generator(latents)
        torch.testing.assert_close(checkpoint.networks["generator"](latents).flatten(1), images)
        logits = checkpoint.networks["discriminator"](images.view(-1, 1, 28, 28))
        torch.testing.assert_close(logits.sigmoid(), discriminator(images).squeeze(1))
    result = ebm_refine.refine(tmp_path / "pair", "mala", n_steps=2, num_images=3)
    assert result.after.shape == (3, 1, 28, 28)
    assert result.ratio_after is not None


def test_perceptrons_that_do_not_fit_are_refused(tmp_path):
    generator, discriminator = perceptrons()
    odd = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 50))
    with pytest.raises(CheckpointError, match="50 numbers are no square image"):
        import_pair(*saved(tmp_path, odd, discriminator), dataset="mnist")
    with pytest.raises(CheckpointError, match="not of 32x32"):
        import_pair(*saved(tmp_path, generator, discriminator), dataset="mnist", image_size=32)
    smaller = nn.Sequential(nn.Linear(100, 8), nn.LeakyReLU(), nn.Linear(8, 8), nn.LeakyReLU(), nn.Linear(8, 1))
    with pytest.raises(CheckpointError, match="reads images of 1x10x10, but the generator makes 1x28x28"):
        import_pair(*saved(tmp_path, generator, smaller), dataset="mnist")
    normed = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 784))
    import_pair(*saved(tmp_path, normed, discriminator), dataset="mnist")  # in eval mode a batch norm is part of its layer
    with pytest.raises(InputError, match="gives 784 numbers an image, not one"):
        import_pair(*saved(tmp_path, generator, nn.Sequential(*list(discriminator)[:-2], nn.Linear(16, 784))), dataset="mnist")
