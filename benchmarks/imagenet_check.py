"""An outside check of the panel: Inception-v3's ImageNet layers, which are no part of the project and no member of a panel.

    npm pack nsfwjs@4.3.0 && tar xzf nsfwjs-4.3.0.tgz      # 25 MB; MIT licence
    python benchmarks/imagenet_check.py cifar10-dcgan --data ../shared/data/cifar10 --runs runs/panel \\
        --network package/dist/models/inception_v3

The package holds Inception-v3 (Szegedy et al. 2015, arXiv 1512.00567) with its weights in eight bits. Its authors froze the
layers up to `mixed5` as ImageNet had trained them and trained only what lies above for a task of their own, so that no layer
above is used here. Features are means over pixels, at three depths; bases and distances are those of a panel. Images are drawn,
or read from --runs, as by `benchmarks/panel.py`. Needs Node.js to read the package's files.
"""

import argparse
import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from panel import part_of
from speed import machine
from torch import Tensor

from ebm_refine import load
from ebm_refine.data.images import load_images
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.metrics.distances import kernel_distance, paired_difference
from ebm_refine.metrics.panel_rights import as_reference
from ebm_refine.metrics.principal_components import fit_basis
from ebm_refine.utils.atomic_io import replacing

DEPTHS = {"max_pooling2d_2": "shallow (5 convolutions)", "mixed2": "middle (26)", "mixed5": "deep (50)"}
SIDE, CHUNK = 96, 50
READ = (
    "const d=process.argv[1]+'/',fs=require('fs');let m=require(d+'model.min.js');m=m.default||m;"
    "const b=Buffer.concat(fs.readdirSync(d).filter(f=>f.startsWith('group1')).sort()"
    ".map(f=>{const s=require(d+f);return Buffer.from(s.default||s,'base64')}));"
    "process.stdout.write(JSON.stringify({layers:m.modelTopology.model_config.config.layers,"
    "weights:m.weightsManifest[0].weights,bytes:b.toString('base64')}))"
)


class Trunk:
    """The layers of a Keras model up to the last of DEPTHS, run on images (B, 3, H, W) uint8; gives features by depth."""

    def __init__(self, folder: Path):
        described = subprocess.run(["node", "-e", READ, str(folder.resolve())], capture_output=True, check=True).stdout
        model = json.loads(described)
        self.sha256 = hashlib.sha256(described).hexdigest()
        self.layers, self.weights = model["layers"], _weights(model)
        last = [layer["name"] for layer in self.layers].index(list(DEPTHS)[-1])
        self.layers = self.layers[: last + 1]
        if any(layer["config"].get("trainable") for layer in self.layers if layer["class_name"] == "Conv2D"):
            raise SystemExit(f"{folder}: a layer up to {list(DEPTHS)[-1]} was trained further; another network is needed")

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> dict[str, Tensor]:
        images = pixels.float() / 127.5 - 1
        known = {"input_1": F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)}
        for layer in self.layers[1:]:
            inputs = [known[name] for name, *_ in layer["inbound_nodes"][0]]
            known[layer["name"]] = self._layer(layer, inputs)
        return {title: known[name].mean(dim=(2, 3)) for name, title in DEPTHS.items()}

    def _layer(self, layer: dict[str, Any], inputs: list[Tensor]) -> Tensor:
        kind, config, name, images = layer["class_name"], layer["config"], layer["name"], inputs[0]
        if kind == "Concatenate":
            return torch.cat(inputs, dim=1)
        if kind == "Activation":
            return F.relu(images)
        if kind == "BatchNormalization":
            values = {part: self.weights.get(f"{name}/{part}") for part in ("moving_mean", "moving_variance", "gamma", "beta")}
            return F.batch_norm(
                images, values["moving_mean"], values["moving_variance"], values["gamma"], values["beta"], eps=config["epsilon"]
            )
        same = config["padding"] == "same"
        if kind == "Conv2D":
            padding = tuple(side // 2 for side in config["kernel_size"]) if same else 0
            if same and config["strides"] != [1, 1]:
                raise SystemExit(f"{name}: a strided convolution with padding is not expected in this network")
            return F.conv2d(images, self.weights[f"{name}/kernel"], stride=config["strides"], padding=padding)
        padding = config["pool_size"][0] // 2 if same else 0
        if kind == "AveragePooling2D":
            return F.avg_pool2d(images, config["pool_size"], config["strides"], padding, count_include_pad=False)
        assert kind == "MaxPooling2D", kind
        return F.max_pool2d(images, config["pool_size"], config["strides"], padding)

    def features(self, pixels: Tensor) -> dict[str, Tensor]:
        """By depth the features (N, d) of uint8 images (N, 3, H, W)."""
        found = [self(part) for part in pixels.split(CHUNK)]
        return {title: torch.cat([one[title] for one in found]) for title in DEPTHS.values()}


def _weights(model: dict[str, Any]) -> dict[str, Tensor]:
    """Arrays by name from their bytes, one after another: value = byte * scale + min."""
    data, offset, found = base64.b64decode(model["bytes"]), 0, {}
    for one in model["weights"]:
        count, coding = int(np.prod(one["shape"])), one["quantization"]
        values = np.frombuffer(data, coding["dtype"], count, offset)
        offset += values.nbytes
        array = torch.from_numpy(values.astype(np.float32) * coding["scale"] + coding["min"]).reshape(one["shape"])
        found[one["name"]] = array.permute(3, 2, 0, 1).contiguous() if array.ndim == 4 else array
    assert offset == len(data)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--network", type=Path, required=True, help="the package's folder dist/models/inception_v3")
    parser.add_argument("--methods", default="default,elliptical-slice:n_steps=150,dg-flow")
    parser.add_argument("--num-images", type=int, default=500, help="images a seed, as --runs holds them")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--real", type=int, default=2000, help="test images")
    parser.add_argument("--fitted", type=int, default=1000, help="training images that the bases are fitted to")
    parser.add_argument("--runs", type=Path, default=Path("runs/panel"))
    chosen = parser.parse_args()
    checkpoint, trunk = load(chosen.model), Trunk(chosen.network)
    dataset = checkpoint.config["data"]["dataset"]
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    real = trunk.features(load_images(dataset, chosen.data, "test").pixels[: chosen.real])
    fitted = trunk.features(load_images(dataset, chosen.data, "train").pixels[: chosen.fitted])
    bases = {depth: fit_basis(rows) for depth, rows in fitted.items()}
    references = {depth: as_reference(bases[depth].project(rows), "test") for depth, rows in real.items()}
    before: dict[str, Tensor] = {}
    rows = []
    for method in chosen.methods.split(","):
        parts = [part_of(checkpoint, method, seed, chosen.num_images, chosen.runs) for seed in seeds]
        before = before or trunk.features(torch.cat([part["before"] for part in parts]))
        after = trunk.features(torch.cat([part["after"] for part in parts]))
        row: dict[str, Any] = {"method": parts[0]["method"], "settings": parts[0]["settings"], "depths": {}}
        for depth, basis in bases.items():
            sides = basis.project(before[depth]), basis.project(after[depth])
            base, change = kernel_distance(sides[0], references[depth]), paired_difference(*sides, references[depth])
            row["depths"][depth] = {
                "base": base._asdict(), "change": change._asdict(), "relative": change.value / base.value,
                "z": change.value / change.error,
            }  # fmt: skip
        print(method, {depth: f"{one['relative']:+.0%} ({one['z']:+.1f})" for depth, one in row["depths"].items()}, flush=True)
        rows.append(row)
    results = {
        "model": checkpoint.name, "weights": checkpoint.hashes, "network": "nsfwjs 4.3.0, inception_v3, layers up to mixed5",
        "sha256": trunk.sha256, "side": SIDE, "num_images": chosen.num_images * len(seeds),
        "seeds": seeds, "real_images": chosen.real, "fitted": chosen.fitted, "rows": rows, **machine(),
    }  # fmt: skip
    file = RESULTS / f"{checkpoint.name}-imagenet.json"
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
