"""Can a map of the latent that long chains have taught replace them? A probe: five forward passes against 150.

    python benchmarks/amortised.py draw mnist-gan            states of long chains of elliptical slice sampling
    python benchmarks/amortised.py fit mnist-gan             the maps (`latent_maps.py`), on these states
    python benchmarks/amortised.py measure mnist-gan         -> benchmarks/results/MODEL-amortised.json

The states: chains begin in the prior and are looked at after about 150 passes and then at every 15 more up to 405, always
after a set number of transitions. The flow is fitted to them by maximum likelihood; the surrogate to r at them and at as many
draws of the prior. The last block of chains is held back: it stops the fits.

Every method spends five passes an image, that of its start included: i-SIR with four draws beside the start, or four proposals
one after another, each accepted or refused (Metropolis). What a map costs itself is part of the processor time shown.
Everything is saved in --runs; each command continues where it was interrupted.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from curves import after_transitions
from latent_maps import (
    PASSES,
    Move,
    SurrogateLaw,
    flow,
    flow_loss,
    flow_proposal,
    methods,
    surrogate,
    surrogate_loss,
)
from panel import Seen, part_of, row_of, saved
from speed import machine
from table import best_ratio
from torch import Tensor, nn

from ebm_refine import load
from ebm_refine.energies.targets import target_of
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.metrics.panel_store import embedded_panel
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.samplers.cost import spent
from ebm_refine.samplers.elliptical_slice import affordable
from ebm_refine.samplers.flow import effective_share
from ebm_refine.samplers.i_sir import Proposal
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws
from ebm_refine.utils.atomic_io import replacing
from ebm_refine.utils.devices import dtype_for

MARKS = tuple(range(150, 406, 15))
CHAINS, FIRST_SEED = 192, 10_000
REFERENCE = "elliptical-slice:n_steps=150"
# Draws by which effective shares are measured; their seed is no chain's.
WEIGHED, WEIGHED_SEED, WEIGHED_STEPS = 4096, 9_999, 16
RATES, DECAY, BATCH, PATIENCE, MOST_EPOCHS = {"flow": 2e-4, "surrogate": 1e-3}, 1e-2, 256, 4, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("draw", "fit", "measure"))
    parser.add_argument("model")
    parser.add_argument("--blocks", type=int, default=4, help=f"draw: of {CHAINS} chains, {len(MARKS)} states each")
    parser.add_argument("--num-images", type=int, default=500, help="measure: images a seed")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--runs", type=Path, default=Path("runs/amortised"))
    parser.add_argument("--samples", type=Path, default=Path("runs/panel"), help="measure: where panel.py has saved images")
    chosen = parser.parse_args()
    checkpoint = load(chosen.model)
    target: Any = target_of(checkpoint, best_ratio(checkpoint), dtype=dtype_for("auto", "cpu"))
    folder = chosen.runs / Path(checkpoint.name).name
    folder.mkdir(parents=True, exist_ok=True)
    if chosen.what == "draw":
        draw(target, folder, chosen.blocks)
    elif chosen.what == "fit":
        fit(target, folder)
    else:
        seeds = [int(seed) for seed in chosen.seeds.split(",")]
        measure(checkpoint, target, folder, chosen.num_images, seeds, chosen.samples)


def draw(target: Any, folder: Path, blocks: int) -> None:
    """Save `blocks` files of states (marks, CHAINS, d) with their r, and as many draws of the prior with theirs."""
    for block in range(blocks):
        file = folder / f"states-{block}.pt"
        if file.exists():
            continue
        seed, index = FIRST_SEED + block, torch.arange(CHAINS)
        last = affordable(target, Pilot(target, seed), MARKS[-1])
        wanted = [max(1, round(last * mark / MARKS[-1])) for mark in MARKS]
        found = after_transitions(target, seed, index, target.init(seed, index), wanted)
        states = torch.stack([positions for _, positions in found.values()])
        passes = [float(counts.mean()) for counts, _ in found.values()]
        prior = target.prior(Draws(seed, torch.arange(states.shape[0] * CHAINS), 0))
        part = {
            "states": states, "ratio": target.log_ratio(states.flatten(0, 1)).reshape(states.shape[:2]), "passes": passes,
            "prior": prior, "prior_ratio": target.log_ratio(prior),
        }  # fmt: skip
        with replacing(file) as temporary:
            torch.save(part, temporary)
        print(f"block {block}: mean r {part['ratio'].mean(dim=1).tolist()} after {passes} passes", flush=True)


def fit(target: Any, folder: Path) -> None:
    """Fit both maps where they are missing, and print how well they do on the block that was held back."""
    files = sorted(folder.glob("states-*.pt"))
    parts = [torch.load(file, weights_only=True) for file in files]
    for name, make, loss in (("flow", flow, flow_loss), ("surrogate", surrogate, surrogate_loss)):
        file = folder / f"{name}.pt"
        if file.exists():
            continue
        began = time.process_time()
        torch.manual_seed(0)
        network = make(target.shape[0])
        train, unseen = columns(parts[:-1]), columns(parts[-1:])
        best, epochs = trained(network, loss, train, unseen, RATES[name])
        network.load_state_dict(best)
        facts = {"epochs": epochs, "states": len(train[0]), "unseen_loss": evaluated(network, loss, unseen)}
        facts["processor_seconds"] = time.process_time() - began
        with replacing(file) as temporary:
            torch.save({"weights": best, **facts}, temporary)
        print(name, facts, flush=True)


def columns(parts: Sequence[dict[str, Tensor]]) -> list[Tensor]:
    """States (N, d), their r (N,), prior draws (N, d), their r (N,)."""
    states, ratio = (torch.cat([part[name].flatten(0, 1) for part in parts]) for name in ("states", "ratio"))
    return [states, ratio, *(torch.cat([part[name] for part in parts]) for name in ("prior", "prior_ratio"))]


def trained(
    network: nn.Module, loss: Callable[..., Tensor], train: list[Tensor], unseen: list[Tensor], rate: float
) -> tuple[Any, int]:
    """The weights of the epoch that was best on the unseen block, and how many epochs there were."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=DECAY)
    lowest, best, since = float("inf"), None, 0
    for epoch in range(1, MOST_EPOCHS + 1):
        for chosen in torch.randperm(len(train[0])).split(BATCH):
            optimizer.zero_grad()
            value = loss(network, *(column[chosen] for column in train))
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        now = evaluated(network, loss, unseen)
        print(f"epoch {epoch}: {float(value):.4f} on the last batch, {now:.4f} on the unseen block", flush=True)
        if now < lowest:
            lowest, best, since = now, {name: one.clone() for name, one in network.state_dict().items()}, 0
        since += 1
        if since > PATIENCE:
            break
    return best, epoch


@torch.no_grad()
def evaluated(network: nn.Module, loss: Callable[..., Tensor], columns: list[Tensor]) -> float:
    return float(loss(network, *columns))


def measure(checkpoint: Checkpoint, target: Any, folder: Path, count: int, seeds: list[int], samples: Path) -> None:
    """Judge all methods by the panel on test images, beside 150 passes of elliptical slice sampling from the same seeds."""
    shape, fitted = target.shape, {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in ("flow", "surrogate")}
    network, score = flow(shape[0]), surrogate(shape[0])
    for module, facts in ((network, fitted["flow"]), (score, fitted["surrogate"])):
        module.load_state_dict(facts["weights"])
        module.eval().requires_grad_(False)
    proposal = flow_proposal(network, shape)
    law = SurrogateLaw(score, shape)
    moves = methods(target, proposal, law)
    reference = [part_of(checkpoint, REFERENCE, seed, count, samples) for seed in seeds]
    parts: dict[str, list[dict[str, Any]]] = {"elliptical-slice": reference}
    for name, move in moves.items():
        parts[name] = [
            drawn_part(checkpoint, target, name, move, seed, base["before"], folder)
            for seed, base in zip(seeds, reference, strict=True)
        ]
        print(name, {key: value for key, value in parts[name][0].items() if not isinstance(value, Tensor)}, flush=True)
    panel = embedded_panel(checkpoint.config["data"]["dataset"])
    seen, judged_rows = Seen(panel), []
    for group in parts.values():
        row = row_of(checkpoint, seen, None, group, "test")
        own = [key for key in ("moved", "accepted", "milliseconds", "passes") if key in group[0]]
        row |= {key: sum(part[key] for part in group) / len(group) for key in own}
        judged_rows.append(row)
    long = judged_rows[0]["verdict"]["median_gain"]
    for row in judged_rows:
        row["share_of_long"] = row["verdict"]["median_gain"] / long
    results = {
        "model": checkpoint.name, "weights": checkpoint.hashes, "panel": panel.name, "fingerprint": panel.fingerprint,
        "num_images": count * len(seeds), "seeds": seeds, "split": "test", "real_images": judged_rows[0]["reference"]["images"],
        "maps": {name: {key: value for key, value in facts.items() if key != "weights"} for name, facts in fitted.items()},
        "effective_shares": effective_shares(target, proposal, law), "weighed": WEIGHED, "rows": judged_rows, **machine(),
    }  # fmt: skip
    file = RESULTS / f"{checkpoint.name}-amortised.json"
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(results) + "\n")
    print(f"wrote {file}")


def drawn_part(
    checkpoint: Checkpoint, target: Any, name: str, move: Move, seed: int, before: Tensor, folder: Path
) -> dict[str, Any]:
    """The images of one method and seed, drawn or read, as `panel.part_of`; with the shares of images `moved` from the start
    and of proposals `accepted`, and the processor's `milliseconds` an image, decoding included."""

    def make() -> dict[str, Any]:
        index = torch.arange(len(before))
        start = target.init(seed, index)
        forwards, began, busy = target.forwards, time.monotonic(), time.process_time()
        position, accepted = move(start, seed, index)
        after, passes = target.decode(position), target.forwards - forwards
        return {
            "method": name, "settings": {}, "ratio": best_ratio(checkpoint), "before": before, "after": after,
            "evaluations": spent(passes, 0) / len(before), "passes": passes / len(before),
            "mean_ratio_after": float(target.log_ratio(position).mean()), "seconds": time.monotonic() - began, "fallbacks": 0,
            "milliseconds": 1000 * (time.process_time() - busy) / len(before),
            "moved": float((position != start).any(dim=1).float().mean()), "accepted": accepted,
        }  # fmt: skip

    return saved(folder / f"{name.replace(' ', '-')}-{seed}-{len(before)}.pt", make)


def effective_shares(target: Any, proposal: Proposal, law: SurrogateLaw) -> dict[str, float]:
    """Of WEIGHED draws each: how many, as a share, the weights towards the model's law leave effective."""
    index = torch.arange(WEIGHED)
    prior = target.init(WEIGHED_SEED, index)
    drawn = proposal.draw(Draws(WEIGHED_SEED, index, 1), 0)
    chains = law.moved(prior, WEIGHED_SEED, index, PASSES, WEIGHED_STEPS)
    return {
        "prior": effective_share(target.log_ratio(prior)),
        "flow": effective_share(-target.energy(drawn) - proposal.log_density(drawn)),
        "surrogate": effective_share(target.log_ratio(chains) - law.log_ratio(chains)),
    }


if __name__ == "__main__":
    main()
