"""How a check says what is broken, and the laws that every component has in common.

A component is seen as a *call*: tensors with one row a chain go in, tensors with one row a chain come out, and a
generator is drawn from. Whatever it computes, then,

- the same generator gives the same bits, another one others, and nobody else's random state moves;
- what it was given stays as it was;
- a row depends on no other row: some of them, with their own streams, give what all at once give;
- the event's shape is nothing to it: reshaping commutes with it.
"""

import math
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from scorekit._kinds import brief
from scorekit.base import Generator, PerChain, Target, normal
from scorekit.testing.configuration import round_trip
from scorekit.testing.statistics import ALPHA

Rows: TypeAlias = tuple[Tensor, ...]
Call: TypeAlias = Callable[[Rows, Generator], Rows]

EVENTS = ((3,), (3, 4, 5), (7, 2))
BATCH = 6  # unlike any axis of EVENTS, so that a sum over the wrong axis shows
EXACT = 1e-9


@final
class ConformanceError(AssertionError):
    """A component breaks a law that every correct one of its kind satisfies.

    Attributes:
        law: the law's name.
        found: the figure that was found.
        expected: what it should have been.
        hint: the usual cause.
    """

    def __init__(self, subject: str, law: str, found: str, expected: str, hint: str):
        super().__init__(f"{subject} breaks the law {law!r}: {found}; expected {expected}. Usual cause: {hint}")
        self.law, self.found, self.expected, self.hint = law, found, expected, hint


@final
@dataclass(frozen=True)
class Trial:
    """One check of one component.

    Args:
        check: the check's name.
        component: what is checked.
    """

    check: str
    component: object

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.check}({brief(self.component)})"

    def seed(self, law: str) -> int:
        """A seed for one law of this kind of component: under a common one, false alarms would coincide."""
        return zlib.crc32(f"{self.check} {type(self.component).__name__} {law}".encode())

    def generator(self, law: str) -> torch.Generator:
        """A generator for one law."""
        return torch.Generator().manual_seed(self.seed(law))

    def rows(self, event: tuple[int, ...], *, dtype: torch.dtype = torch.float64) -> Tensor:
        """Normal rows (BATCH, *event), one of them far out."""
        x = normal(torch.empty(BATCH, *event, dtype=dtype), generator=torch.Generator().manual_seed(1))
        return torch.cat((x[:1], 3 * x[1:2], x[2:]))

    def require(self, holds: bool, law: str, found: str, expected: str, hint: str) -> None:
        """Raise unless the law holds."""
        if not holds:
            raise ConformanceError(self.title, law, found, expected, hint)

    def error(self, value: float, law: str, hint: str, *, bound: float = EXACT) -> None:
        """Raise if an error is beyond its bound."""
        self.require(value <= bound, law, f"an error of {value:.3g}", f"at most {bound:.3g}", hint)

    def chance(self, pvalue: float, law: str, hint: str) -> None:
        """Raise if a p-value is below 1e-6."""
        self.require(pvalue >= ALPHA, law, f"p = {pvalue:.3g}", f"p >= {ALPHA:g}", hint)

    def shape(self, value: Tensor, expected: tuple[int, ...], what: str) -> None:
        """Raise if a tensor has another shape."""
        self.require(
            tuple(value.shape) == tuple(expected),
            f"the shape of {what}",
            f"{tuple(value.shape)}",
            f"{tuple(expected)}",
            "an event axis that is summed, kept or broadcast by hand; use sum_event and expand",
        )

    def type(self, value: Tensor, like: Tensor, what: str) -> None:
        """Raise if a tensor has another type, or lies elsewhere, than x."""
        self.require(
            value.dtype == like.dtype and value.device == like.device,
            f"the type of {what}",
            f"{value.dtype} on {value.device}",
            f"{like.dtype} on {like.device}, as x",
            "a tensor made without like= or .to(x): x decides type and device",
        )


def lawful(trial: Trial, call: Call, inputs: Rows, *, draws: bool) -> None:
    """The laws of one call that do not depend on what it computes."""
    reproducible(trial, call, inputs, draws=draws)
    rows_alone(trial, call, inputs)


def reproducible(trial: Trial, call: Call, inputs: Rows, *, draws: bool) -> None:
    """Same generator, same bits; another one, others; inputs and everybody else's random state as they were."""
    before, state = [x.clone() for x in inputs], _random_states()
    first, second, other = (call(inputs, torch.Generator().manual_seed(number)) for number in (1, 1, 2))
    intact = all(map(_equal, before, inputs))
    trial.require(
        intact,
        "inputs stay as they are",
        "an input was written to",
        "every input bit-equal",
        "an operation in place, such as x += ... or x.add_(...)",
    )
    trial.require(
        _same_states(state, _random_states()),
        "the global random state is left alone",
        "it moved",
        "the state of before",
        "a draw from torch.randn, torch.rand, numpy or random; use "
        "scorekit.base.normal, uniform or rademacher with the generator that is given",
    )
    trial.require(
        all(map(_equal, first, second)),
        "the same generator gives the same result",
        "two results",
        "equal bits",
        "state kept in the component, or randomness from elsewhere",
    )
    if draws:
        trial.require(
            not all(map(_equal, first, other)),
            "another generator gives another result",
            "equal bits",
            "different draws",
            "a generator that is not handed on, or a seed of one's own",
        )


def rows_alone(trial: Trial, call: Call, inputs: Rows) -> None:
    """Three rows by themselves and the others by themselves, with their own streams, against all at once."""
    whole, worst = call(inputs, PerChain(7)), 0.0
    for part in (slice(0, 3), slice(3, None)):
        some = call(tuple(x[part] for x in inputs), PerChain(7).shift(part.start))
        worst = max(worst, *(difference(a, b[part]) for a, b in zip(some, whole, strict=True)))
    trial.error(
        worst,
        "a row depends on no other row",
        "a mean or a norm over the whole batch, one draw for all rows, or one decision for all of them",
        bound=max(EXACT, 100 * torch.finfo(inputs[0].dtype).eps),  # matrix products round by the size of the batch
    )


def any_event(
    trial: Trial, make: Callable[[tuple[int, ...]], Call], *, draws: bool, events: Sequence[tuple[int, ...]] = EVENTS
) -> None:
    """Whatever the event's shape: every law of one call, the shapes of what comes out, and the flattened event's
    numbers."""
    for event in events:
        x = trial.rows(event)
        lawful(trial, make(event), (x,), draws=draws)
        shaped = make(event)((x,), torch.Generator().manual_seed(1))
        flat = make((math.prod(event),))((x.flatten(1),), torch.Generator().manual_seed(1))
        for a, b in zip(shaped, flat, strict=True):
            trial.shape(a, tuple(x.shape) if b.shape == x.flatten(1).shape else tuple(b.shape), f"a result for {event}")
            trial.error(
                difference(a.reshape(b.shape), b),
                "the event's shape is nothing to it",
                "a sum over the last axis where all of the event's axes are meant",
            )


def scoreless(trial: Trial, flag: str) -> Target:
    """A target for a component that says, by `flag`, that it never asks for the score."""

    def refuse(x: Tensor) -> Tensor:
        raise ConformanceError(
            trial.title,
            f"{flag} tells the truth",
            "the score was evaluated",
            "no evaluation",
            f"the score enters after all: let {flag} be True",
        )

    return Target(refuse)


def configuration(trial: Trial) -> object:
    """The component survives a trip through JSON; what came back."""
    hint = (
        "a frozen dataclass of numbers, strings, tuples and components (a module: every argument kept under its own "
        "name) has a configuration; tensors, lists and functions have none"
    )
    try:
        with torch.random.fork_rng():  # a module draws its weights
            made = round_trip(trial.component)
    except (TypeError, ValueError) as error:
        raise ConformanceError(trial.title, "from_config undoes to_config", f"{error}", "a round trip", hint) from error
    same = made == trial.component or isinstance(made, torch.nn.Module)  # a module is equal to itself alone
    trial.require(same, "from_config undoes to_config", brief(made), brief(trial.component), hint)
    return made


def difference(a: Tensor, b: Tensor) -> float:
    """The largest difference relative to 1 + |b|: infinite for other shapes, or where one alone is NaN or infinite."""
    if a.shape != b.shape:
        return math.inf
    a, b = a.detach().double(), b.detach().double()
    gap = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs() / (1 + b.abs()))
    worst = gap.max().item() if gap.numel() else 0.0
    return worst if worst == worst else math.inf


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _random_states() -> tuple[Tensor, str, object]:
    return torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002


def _same_states(a: tuple[Tensor, str, object], b: tuple[Tensor, str, object]) -> bool:
    return torch.equal(a[0], b[0]) and a[1:] == b[1:]
