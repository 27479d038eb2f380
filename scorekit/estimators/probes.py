r"""Random directions v with E vv' = I over the whole event, so that E v' J v = tr J (Hutchinson 1990).

With S the symmetric part of J and d the size of the event, the variance of v' J v is

    rademacher    2 (|S|^2 - sum_i S_ii^2)              +1 and -1 in each coordinate; the smallest unless S is special
    gaussian      2 |S|^2
    sphere        2 (d |S|^2 - (tr S)^2) / (d + 2)      uniform on the sphere of radius sqrt(d)
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from scorekit.base import Generator, expand, fork, normal, rademacher, sum_event, wide

ProbeLaw: TypeAlias = Literal["rademacher", "gaussian", "sphere"]
"""The law of a probe."""


def sphere(like: Tensor, *, generator: Generator = None) -> Tensor:
    """Uniform draws on the sphere of radius sqrt(d), d the size of the event, with the type and device of `like`."""
    z = normal(like, generator=generator)
    norm = sum_event(wide(z).square()).sqrt()
    radius = z[0].numel() ** 0.5
    # in float32 a draw of one or two coordinates is exactly 0 about once in 3e7: it becomes (1, ..., 1), of that radius
    return torch.where(expand(norm > 0, z).bool(), z * expand(radius / norm, z), 1.0)


_LAWS = {"rademacher": rademacher, "gaussian": normal, "sphere": sphere}


def draw_probes(law: ProbeLaw, num_probes: int, like: Tensor, *, generator: Generator = None) -> Iterator[Tensor]:
    """`num_probes` independent probes shaped like `like` (B, *E), each from its own fork of the generator."""
    for index in range(num_probes):
        yield _LAWS[law](like, generator=fork(generator, index))


def check_probes(owner: str, law: str, num_probes: int) -> None:
    """Refuse a law without a name, and a number of probes below 1.

    Raises:
        ValueError: with the owner's name, the argument and what is expected.
    """
    if law not in _LAWS:
        raise ValueError(f"{owner}(probe={law!r}): expected one of {', '.join(map(repr, _LAWS))}")
    if not isinstance(num_probes, int) or num_probes < 1:
        raise ValueError(f"{owner}(num_probes={num_probes!r}): expected an integer >= 1")
