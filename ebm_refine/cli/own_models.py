"""The commands for models of one's own: a model that a function makes, a ratio for it, and files that are imported."""

import argparse
import importlib
import re
import sys
from pathlib import Path
from typing import Any

from ebm_refine.errors import InputError
from ebm_refine.parameters import Parameter, shorten

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
IMAGE_SIZE = Parameter("image_size", "int", None, 4, 1024, unit="pixels")
MODEL_HELP = "name, folder, Hub id, or module:function of a function that returns ebm_refine.pair(…)"


def model_named(text: str) -> Any:
    """The model of `--model`. `module:function` is imported, the current folder first, and called.

    Only the command line does this: page and API know no such names. Raises InputError, one sentence, where that fails.
    """
    from ebm_refine.catalogue import load
    from ebm_refine.models.checkpoint import Checkpoint

    if not FACTORY.fullmatch(text) or Path(text).exists():
        return load(text)
    name, _, function = text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        where = "in the current folder or installed" if error.name == name else f"as {name} imports it"
        raise InputError(f"--model {text}: there is no module {error.name!r} {where}") from None
    except SystemExit as error:  # a script that runs as a whole when it is imported
        raise InputError(
            f"--model {text}: {name} ends the program when it is imported (exit {error.code}): guard what it "
            "runs as a script by if __name__ == '__main__'"
        ) from None
    except Exception as error:
        raise InputError(f"--model {text}: importing {name} failed: {_said(error)}") from error
    make = getattr(module, function, None)
    if not callable(make):
        raise InputError(f"--model {text}: module {name} has no function {function!r}")
    try:
        model = make()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"--model {text}: {function}() failed: {_said(error)}") from error
    if not isinstance(model, Checkpoint):
        raise InputError(f"--model {text}: {function}() must return what ebm_refine.pair gives; got {shorten(model)}")
    return model


def add_fit_ratio(commands: Any) -> None:
    fit = commands.add_parser("fit-ratio", help="fit a log ratio to a model of your own and real samples; resumable")
    fit.add_argument("--model", required=True, help="module:function of a function that returns ebm_refine.pair(…)")
    fit.add_argument("--real", required=True, help="folder of pictures, parquet files, a Hub data set, or an .npy/.npz file")
    fit.add_argument("--body", help="classifier, contrastive, cnn or mlp; without it by size and labels")
    fit.add_argument("--steps", help="batches of the fit; without it the body's own number")
    fit.add_argument("--seed", default="0")
    fit.add_argument("--device", default="cpu")
    fit.add_argument("--runs", default="runs", help="folder of resumable states")
    fit.add_argument("--out", required=True, help="the .safetensors file, for ebm_refine.pair(…, ratio=file)")
    fit.set_defaults(run=_fit_ratio)


def _fit_ratio(chosen: argparse.Namespace) -> int:
    from ebm_refine.training.pipelines.ratio_fitting import fit_ratio
    from ebm_refine.utils.devices import check_device

    out = Path(chosen.out)
    if out.suffix != ".safetensors":
        raise InputError(f"--out must be a .safetensors file; got {chosen.out!r}")
    steps = None if chosen.steps is None else _whole("steps", chosen.steps)
    pair = fit_ratio(
        model_named(chosen.model), real_named(chosen.real), body=chosen.body, steps=steps, seed=_whole("seed", chosen.seed),
        device=check_device(chosen.device), runs=chosen.runs,
    )  # fmt: skip
    pair.save_ratio(out)
    for ratio, report in pair.config["ratio_report"].items():
        print(f"{ratio}: {report['verdict']}")
    print(f"wrote {out}; use it with ebm_refine.pair(…, ratio={str(out)!r})")
    return 0


def real_named(text: str) -> Any:
    """What `--real` names: an array of a .npy file, images and labels of an .npz file, else a path or a Hub data set."""
    import numpy as np

    path = Path(text)
    if path.suffix not in (".npy", ".npz"):
        return text
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"--real {text} cannot be read as an array: {_said(error)}") from None
    if path.suffix == ".npy":
        return found
    names = list(found.files)
    samples = next((name for name in ("images", "samples", "x") if name in names), names[0] if len(names) == 1 else None)
    if samples is None:
        raise InputError(f"--real {text} must hold an array 'images' (and 'labels'); it holds {', '.join(names)}")
    return (found[samples], found["labels"]) if "labels" in names else found[samples]


def measuring_named(checkpoint: Any, chosen: argparse.Namespace, jobs: Any) -> tuple[Any, Any]:
    """What `evaluate --real … --extractor …` measures by, and the panel; None and whether --panel is given without --real."""
    if chosen.real is None:
        if chosen.extractor != "auto":
            raise InputError(f"--extractor {chosen.extractor} needs real images: name them with --real")
        return None, chosen.panel
    from functools import partial

    from ebm_refine.evaluation.own_evaluation import measuring
    from ebm_refine.utils.devices import check_device

    if chosen.panel and chosen.extractor != "auto":
        raise InputError("--panel with --real goes with --extractor auto, whose kinds of features are the panel")
    log = partial(print, file=sys.stderr, flush=True)
    return measuring(checkpoint, real_named(chosen.real), chosen.extractor, jobs, check_device(chosen.device), log)


def _whole(name: str, text: str) -> int:
    return Parameter(name, "int", 0, 0, 2**31 - 1).parse_text(text)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def add_import(commands: Any) -> None:
    from ebm_refine.models.convert.import_options import CHOICES

    bring = commands.add_parser("import", help="convert a public pair, or an energy, to a checkpoint folder")
    bring.add_argument("generator", help=".pth, .pt, .ckpt or .safetensors; the only file if it holds both networks")
    bring.add_argument("discriminator", nargs="?", help="likewise")
    bring.add_argument("--kind", default="pair", choices=("pair", "energy"), help="what the files hold")
    bring.add_argument("--dataset", required=True, help="what it was trained on: cifar10, celeba, mnist, …")
    bring.add_argument("--image-size", help="side in pixels, where the file leaves it open")
    bring.add_argument("--activation", help=f"of the generator: {', '.join(CHOICES['activation'])}; without it relu")
    bring.add_argument("--d-activation", help="of the discriminator, likewise; without it leaky")
    bring.add_argument("--slope", help="of leaky; without it 0.2")
    bring.add_argument("--norm-eps", help="of the batch norms; without it 1e-5")
    bring.add_argument("--g-output", help="tanh (images in [-1, 1]) or sigmoid ([0, 1]); without it tanh")
    bring.add_argument("--prior", help="of the latents: normal, or uniform on [-1, 1]; without it normal")
    bring.add_argument("--classes", help="of a pair whose labels enter one-hot; not needed if the file has an embedding")
    bring.add_argument("--g-labels", help="whether the label comes before or after the latent: first or last")
    bring.add_argument("--d-labels", help="likewise for the label and the image; without it last")
    bring.add_argument("--upsampling", help="of a residual generator: bilinear or nearest; without it bilinear")
    bring.add_argument("--d-pooling", help="of a residual discriminator's last maps: sum or mean; without it sum")
    bring.add_argument("--halvings", help="blocks of a residual discriminator that halve the side")
    bring.add_argument("--output", help="logit, critic, energy or inverted; of an energy energy or minus-energy")
    bring.add_argument("--data", help="real images, to check the import options: a folder, parquet, a Hub data set")
    bring.add_argument("--title")
    bring.add_argument("--source", help="where the files come from, for the card")
    bring.add_argument("--license", help="their licence, for the card")
    bring.add_argument("--out", required=True, help="the new checkpoint folder")
    bring.set_defaults(run=_import)


READ = (
    "activation", "d_activation", "slope", "norm_eps", "g_output", "prior", "classes", "g_labels", "d_labels", "upsampling",
    "d_pooling", "halvings",
)  # fmt: skip


def _import(chosen: argparse.Namespace) -> int:
    metadata = {"dataset": chosen.dataset, "title": chosen.title, "source": chosen.source, "license": chosen.license}
    size = None if chosen.image_size is None else IMAGE_SIZE.parse_text(chosen.image_size)
    said: list[str] = []
    checkpoint = (
        _import_energy(chosen, metadata, size, said) if chosen.kind == "energy" else _import_pair(chosen, metadata, size, said)
    )
    for role, part in checkpoint.config["parts"].items():
        print(f"{role}: {part['architecture']} {part['arguments']}")
    for line in said:
        print(line)
    print(f"wrote {checkpoint.folder}, images {'x'.join(map(str, checkpoint.config['data']['shape']))}")
    print(f"next: python -m ebm_refine refine --model {chosen.out} --out {chosen.out}-refined")
    return 0


def _import_pair(chosen: argparse.Namespace, metadata: dict[str, Any], size: int | None, said: list[str]) -> Any:
    from ebm_refine.cli.import_check import compare_options
    from ebm_refine.models.convert.convert import read_pair, save_pair
    from ebm_refine.models.convert.import_options import ImportOptions

    given = {name: getattr(chosen, name) for name in (*READ, "output")}
    options = ImportOptions.of(**given) if any(value is not None for value in given.values()) else None
    pair = read_pair(chosen.generator, chosen.discriminator, size, options)
    said += [f"assumed: {line}" for line in pair.assumed]
    if chosen.data is not None:
        said += [f"--data: {line}" for line in compare_options(pair, real_named(chosen.data), size)]
    return save_pair(pair, chosen.out, metadata)


def _import_energy(chosen: argparse.Namespace, metadata: dict[str, Any], size: int | None, said: list[str]) -> Any:
    import tempfile

    from ebm_refine.cli.import_check import check_energy
    from ebm_refine.models.convert.convert import import_energy

    if chosen.discriminator:
        raise InputError(f"an energy is one file; got a second one, {chosen.discriminator!r}")
    for name in READ:
        if getattr(chosen, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} is for pairs; an energy takes --output and --image-size")
    output = chosen.output or "minus-energy"
    if chosen.data is not None:
        with tempfile.TemporaryDirectory() as trial:
            found = import_energy(chosen.generator, Path(trial) / "energy", image_size=size, output=output, **metadata)
            said.append(f"--data: {check_energy(found, real_named(chosen.data), output)}")
    checkpoint = import_energy(chosen.generator, chosen.out, image_size=size, output=output, **metadata)
    said.insert(0, f"assumed: {checkpoint.config['training']['assumed']}")
    return checkpoint
