"""Block Gibbs sampling of a Boltzmann machine: all hidden bits at once, then all visible ones.

Geman and Geman 1984, "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images"; as the associative
memory on top of a deep belief network, Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets":

    h' ~ p(h | v),     v' ~ p(v | h')

Neither block has links inside it, so both conditionals are independent bits and the step is exact: the chain's law is
p(v) = exp(-F(v)) / Z, F the free energy, whatever the weights. There is no step size. How fast the chain forgets where it
began is a matter of the weights, and large ones make it slow.
"""

from typing import NamedTuple, Protocol

from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Info, Kernel, choose
from ebm_refine.samplers.method import Claim, Law, Method, Values
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws, Stream


class Machine(Protocol):
    """A law of visible bits (B, visible) through hidden ones (B, hidden), float32 zeros and ones."""

    hidden: int

    def upward(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """The free energy (B,) and the means of the hidden bits (B, hidden)."""

    def downward(self, hidden: Tensor) -> Tensor:
        """The means of the visible bits (B, visible)."""


class GibbsState(NamedTuple):
    """Visible bits (B, visible), their free energy (B,), and the means of the hidden bits given them (B, hidden)."""

    position: Tensor
    energy: Tensor
    hidden_mean: Tensor


def gibbs(target: Machine) -> Kernel:
    """One pass up and one down a step. A step to an energy that is not finite is not taken; the chain stays."""

    def init(position: Tensor) -> GibbsState:
        return GibbsState(position, *target.upward(position))

    def step(state: GibbsState, draws: Draws) -> tuple[GibbsState, Info]:
        tosses = draws.uniform((target.hidden + state.position.shape[1],), Stream.NOISE)
        hidden = (tosses[:, : target.hidden] < state.hidden_mean).float()
        visible = (tosses[:, target.hidden :] < target.downward(hidden)).float()
        proposal = init(visible)
        finite = proposal.energy.isfinite() & proposal.hidden_mean.isfinite().all(dim=1)
        return choose(finite, proposal, state), Info(accepted=finite, nonfinite=~finite)

    return Kernel(init, step)


def _kernel(target: Machine, values: Values, pilot: Pilot) -> Kernel:
    return gibbs(target)


METHOD = Method(
    name="gibbs",
    title="Block Gibbs",
    summary="Draws all hidden bits given the visible ones, then all visible bits given the hidden ones.",
    parameters=(Parameter("n_steps", "int", 1000, 1, 10_000, unit="steps", help="steps of all hidden, then all visible bits"),),
    published={"n_steps": 1000},
    kernel=_kernel,
    cost=None,
    law=Law(Claim.EXACT, "Long chains sample the machine's law exactly."),
    kinds=("rbm", "dbn"),
    capturable=True,
)
