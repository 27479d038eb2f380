"""What proposals, kernels and samplers hand back."""

from typing import Literal, NamedTuple, Protocol, TypeVar

from torch import Tensor

from scorekit.target import Point


class Move(NamedTuple):
    """A proposed move: the points visited from the current to the proposed one, and the momenta (B, *E) before and
    after (None without one)."""

    path: tuple[Point, ...]
    momenta: tuple[Tensor, Tensor] | None = None


class Info(NamedTuple):
    """What a kernel that decides reports, one value a chain (B,); nothing is averaged over chains."""

    accepted: Tensor  # bool
    log_accept: Tensor  # log of the Metropolis ratio
    nonfinite: Tensor  # bool: the ratio was NaN or infinite, so the move was rejected
    trusted: Tensor  # bool: the line integral vouched for the ratio
    energy_error: Tensor  # total energy after minus before


class Step(NamedTuple):
    """One update of the chains. It holds the state only, so that keeping steps costs their x."""

    x: Tensor
    sigma: float
    info: Info | None
    phase: Literal["transition", "step", "final"]


class State(Protocol):
    """What travels from step to step: a NamedTuple of tensors that the kernel declares, with x (B, *E) at least.

    Fields named `score` (B, *E) and `log_prob` (B,) are handed back to the kernel as the values of the next `Point`.
    """

    @property
    def x(self) -> Tensor:
        """The chains' state (B, *E)."""
        ...

    def _asdict(self) -> dict[str, Tensor]: ...


StateT = TypeVar("StateT", bound=State)
