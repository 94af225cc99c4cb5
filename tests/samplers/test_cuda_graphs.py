"""Steps replayed from a recording: the same chains to the bit, whatever cannot be recorded left as it is.

A GPU's graph is stood in for by `Recorder`: it keeps the list of tensor operations of a step, refuses those that wait for the
device, and replays them on the same memory. Whether CUDA itself takes the recording is asked where there is a GPU.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import toy_targets
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from ebm_refine.samplers import METHODS
from ebm_refine.samplers.base import Info, Kernel
from ebm_refine.samplers.cuda_graphs import Replayed, captured
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws, Stream, philox

SEED, STEPS, CHAINS = 5, 6, 7
WAITING = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "unique")
CAPTURABLE = [name for name, method in METHODS.items() if method.capturable]
with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Recorder(TorchDispatchMode):
    """Keeps every operation with its arguments and results; what it overwrites of older memory is put back at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict, Any]] = []
        self.made: set[int] = set()
        self.overwritten: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in WAITING:
            raise RuntimeError(f"operation not permitted when stream is capturing: {function}")
        if function._schema.is_mutable and _memory(args[0]) not in self.made:
            self.overwritten.setdefault(_memory(args[0]), (args[0], args[0].clone()))
        result = function(*args, **(kwargs or {}))
        for one in _tensors(result):
            self.made.add(_memory(one))
        # Detached: the memory is what counts, and replaying is no business of autograd.
        self.calls.append(tree_map_only(torch.Tensor, torch.Tensor.detach, (function, args, kwargs or {}, result)))
        return result

    def restore(self) -> None:
        for tensor, before in self.overwritten.values():
            tensor.copy_(before)

    def replay(self) -> None:
        for function, args, kwargs, result in self.calls:
            again = function(*args, **kwargs)
            for old, new in zip(_tensors(result), _tensors(again), strict=True):
                if _memory(old) != _memory(new):  # views and writes in place are in the right memory already
                    old.copy_(new)


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(result: Any) -> list[torch.Tensor]:
    return [one for one in (result if isinstance(result, tuple | list) else (result,)) if isinstance(one, torch.Tensor)]


def recorder(work: Callable[[], Info]) -> tuple[Callable[[], None], Info]:
    recording = Recorder()
    with recording:
        result = work()
    recording.restore()
    return recording.replay, result


def kernel_of(method: str, target: Any) -> Kernel:
    values = {row.name: row.default for row in METHODS[method].parameters} | {"n_steps": STEPS}
    if values.get("eps", 1.0) is None:
        values["eps"] = 0.7
    if method == "short-run":
        values |= {"eps": 0.3, "temperature": 1.0, "clip": 0.5}
    return METHODS[method].build(target, values, Pilot(target, SEED))


def chain(kernel: Kernel, target: Any) -> list[list[torch.Tensor]]:
    """Every step's state and info, copied: a replayed step writes over the last one's."""
    index = torch.arange(CHAINS)
    frames = run(kernel, target.init(SEED, index), SEED, index, STEPS)
    return [[one.clone() for one in (*_flat(frame.state), frame.accepted, frame.nonfinite)] for frame in frames]


def _flat(state: Any) -> list[torch.Tensor]:
    return [one for value in state for one in ([value] if isinstance(value, torch.Tensor) else value)]


def equal(one: list[list[torch.Tensor]], other: list[list[torch.Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for first, second in zip(one, other, strict=True) for a, b in zip(first, second, strict=True)
    )


def fresh_target(method: str = "") -> Any:
    if method == "gibbs":
        target = toy_targets.bits()
        target.chunk = 4
        return target
    # 7 chains: one full chunk and one that is not
    return toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK, chunk=4)


@pytest.mark.parametrize("method", CAPTURABLE)
def test_a_replayed_step_gives_the_same_chain_and_counts_the_same_work(method):
    plain, target = fresh_target(method), fresh_target(method)
    expected = chain(kernel_of(method, plain), plain)
    kernel = kernel_of(method, target)
    assert kernel.capturable
    replayed = Replayed(kernel.step, target, recorder)
    assert equal(chain(kernel._replace(step=replayed), target), expected)
    assert replayed.recording is not None
    assert (target.forwards, target.gradients) == (plain.forwards, plain.gradients)


@pytest.mark.parametrize("error", [RuntimeError("capture failed"), torch.OutOfMemoryError("no memory left")])
def test_where_recording_fails_the_steps_stay_plain_and_it_is_tried_once(error):
    plain, target = fresh_target(), fresh_target()
    expected = chain(kernel_of("mala", plain), plain)
    tried = []

    def failing(work: Callable[[], Info]) -> Any:
        work()  # half way through, what was evaluated in vain must not be counted
        tried.append(work)
        raise error

    kernel = kernel_of("mala", target)
    replayed = Replayed(kernel.step, target, failing)
    assert equal(chain(kernel._replace(step=replayed), target), expected)
    assert (len(tried), replayed.recording) == (1, None)
    assert (target.forwards, target.gradients) == (plain.forwards, plain.gradients)


def test_a_step_that_looks_at_what_it_computes_cannot_be_recorded():
    plain, target = fresh_target(), fresh_target()
    kernel = kernel_of("rejection", target)
    assert not kernel.capturable
    replayed = Replayed(kernel.step, target, recorder)
    assert equal(chain(kernel._replace(step=replayed), target), chain(kernel_of("rejection", plain), plain))
    assert replayed.recording is None
    assert not replayed.possible


def test_a_recording_serves_its_own_chains_only():
    """The pilot, or another seed, may step the same kernel in between: those steps are plain, and the chain goes on."""
    plain, target = fresh_target(), fresh_target()
    kernel, index = kernel_of("langevin", target), torch.arange(CHAINS)
    replayed = Replayed(kernel.step, target, recorder)
    state = kernel.init(target.init(SEED, index))
    other = kernel.init(target.init(9, index[:3]))
    for step in range(1, STEPS + 1):
        state, _ = replayed(state, Draws(SEED, index, step))
        other, _ = replayed(other, Draws(9, index[:3], step))
    assert torch.equal(state.position, chain(kernel_of("langevin", plain), plain)[-1][0])
    again = kernel.init(target.init(9, index[:3]))
    for step in range(1, STEPS + 1):
        again, _ = kernel.step(again, Draws(9, index[:3], step))
    assert torch.equal(other.position, again.position)


def test_recording_a_python_number_would_be_seen():
    """The stand-in is worth something: a step that reads its number in Python repeats one step's noise, and differs."""
    plain, target = fresh_target(), fresh_target()
    kernel = kernel_of("langevin", target)

    def fixed(state: Any, draws: Draws) -> Any:
        return kernel.step(state, draws._replace(step=draws.step if isinstance(draws.step, int) else 2))

    chains = chain(kernel._replace(step=Replayed(fixed, target, recorder)), target)
    expected = chain(kernel_of("langevin", plain), plain)
    assert equal(chains[:3], expected[:3])
    assert not equal(chains, expected)


def test_the_random_law_takes_its_step_from_the_device_too():
    index = torch.tensor([0, 3, 2**31])
    for step in (1, 2, 10_000):
        words = philox(2**63 + 5, index, Stream.NOISE, torch.tensor(step), 3, block=2)
        assert torch.equal(words, philox(2**63 + 5, index, Stream.NOISE, step, 3, block=2))


def test_on_the_cpu_nothing_is_recorded():
    target = fresh_target()
    kernel = kernel_of("langevin", target)
    assert captured(kernel, target) is kernel


@with_gpu
@pytest.mark.parametrize("method", CAPTURABLE)
def test_a_cuda_graph_gives_the_chain_of_plain_steps(method):
    chains = []
    for wrap in (lambda kernel, target: kernel, captured):
        target = on_gpu(method)
        kernel = wrap(kernel_of_gpu(method, target), target)
        index = torch.arange(CHAINS, device="cuda")
        frames = run(kernel, target.init(SEED, index), SEED, index, STEPS)
        chains.append([[one.clone() for one in (*_flat(frame.state), frame.accepted)] for frame in frames])
        assert wrap is not captured or kernel.step.recording is not None
    assert equal(*chains)


@with_gpu
def test_replayed_steps_never_wait_for_the_device():
    target = on_gpu()
    kernel, index = captured(kernel_of_gpu("langevin", target), target), torch.arange(CHAINS, device="cuda")
    frames = run(kernel, target.init(SEED, index), SEED, index, 20)
    for _ in range(4):
        next(frames)
    torch.cuda.set_sync_debug_mode("error")
    try:
        accepted = sum(frame.accepted.sum() for frame in frames)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(accepted) == 17 * CHAINS


def on_gpu(method: str = "") -> Any:
    if method == "gibbs":
        target = toy_targets.bits("cuda")
        target.chunk = 4
        return target
    target = toy_targets.quadratic(toy_targets.A.cuda(), toy_targets.B.cuda(), toy_targets.PEAK, chunk=4)
    target.device = torch.device("cuda")
    return target


def kernel_of_gpu(method: str, target: Any) -> Kernel:
    values = {row.name: row.default for row in METHODS[method].parameters} | {"n_steps": STEPS}
    values |= {"eps": 0.3, "temperature": 1.0, "clip": 0.5}
    return METHODS[method].build(target, values, Pilot(target, SEED, "cuda"))
