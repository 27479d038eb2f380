"""How the authors' files are laid out: which part is what.

    ncsn              [model state, optimiser state]
    ncsnv2            [model state, optimiser state, epoch, step]
    ncsnv2, with EMA  [model state, optimiser state, epoch, step, EMA]
    bare              model state

The model state has a tensor under each name, after "module." in a model that was trained by DataParallel; the EMA
has the parameters, not the buffers, under their names without it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor

from scorekit._kinds import brief
from scorekit.checkpoint import CheckpointError

PREFIX = "module."
_COUNTS = (torch.int64, torch.int32, torch.float32, torch.float64)
_MOST = 2**53
_LISTS = (
    "[model state, optimiser state] (ncsn), [model state, optimiser state, epoch, step] or [..., step, EMA] (ncsnv2), "
    "or a model state alone"
)


class Parts(NamedTuple):
    """The parts of a document; a place is the list of indices and keys that leads from the document to the part."""

    state: dict[str, Tensor]  # without prefix
    state_place: tuple[int, ...]
    ema: dict[str, Tensor] | None = None  # without prefix
    ema_place: tuple[int, ...] | None = None
    optimizer: object = None
    step: int | None = None


def parts_of(path: Path, document: object) -> Parts:
    """The parts of a document; `path` is for the messages.

    Raises:
        CheckpointError: if it is laid out in no known way.
    """
    if isinstance(document, Mapping):
        _refuse_score_sde(path, document)
        return Parts(_tensors(path, "the model state", document), ())
    if type(document) is not list or len(document) not in (2, 4, 5):
        raise CheckpointError(f"{path}: expected {_LISTS}; found {_shown(document)}")
    state, optimizer = _tensors(path, "item 0, the model state", document[0]), document[1]
    if not _is_optimizer(optimizer):
        raise CheckpointError(
            f"{path}: expected an optimiser's state, with 'state' and 'param_groups', as item 1; "
            f"found {_shown(optimizer)}"
        )
    if len(document) == 2:
        return Parts(state, (0,), optimizer=optimizer, step=_updates(optimizer))
    step = _step(path, document)
    if len(document) == 4:
        return Parts(state, (0,), optimizer=optimizer, step=step)
    return Parts(state, (0,), _tensors(path, "item 4, the EMA", document[4]), (4,), optimizer, step)


def is_dense(value: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor of numbers in a row, neither sparse nor quantised."""
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized


def _tensors(path: Path, what: str, part: object) -> dict[str, Tensor]:
    """The named tensors of a part, without prefix."""
    if not isinstance(part, Mapping) or not part:
        raise CheckpointError(f"{path}: expected named tensors as {what}; found {_shown(part)}")
    wrong = [f"{brief(key)}: {_shown(value)}" for key, value in part.items() if not _is_named_tensor(key, value)]
    if wrong:
        raise CheckpointError(
            f"{path}: expected named, dense tensors as {what}; found {'; '.join(wrong[:3])} ({len(wrong)} such in all)"
        )
    prefixed = [name for name in part if name.startswith(PREFIX)]
    if 0 < len(prefixed) < len(part):
        bare = next(name for name in part if not name.startswith(PREFIX))
        raise CheckpointError(
            f"{path}: expected the prefix {PREFIX!r} on all names of {what} or on none; found {prefixed[0]!r} and "
            f"{bare!r}"
        )
    return {name.removeprefix(PREFIX): tensor for name, tensor in part.items()}


def _is_named_tensor(key: object, value: object) -> bool:
    return type(key) is str and is_dense(value)


def _is_optimizer(part: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(part, Mapping) and {"state", "param_groups"} <= part.keys()


def _step(path: Path, document: list[object]) -> int:
    """Item 3; item 2, the epoch, is of the same kind."""
    epoch, step = (_count(item) for item in document[2:4])
    if epoch is None or step is None:
        place, name = (2, "epoch") if epoch is None else (3, "step")
        raise CheckpointError(
            f"{path}: expected the {name}, an integer >= 0, as item {place}; found {_shown(document[place])}"
        )
    return step


def _updates(optimizer: Mapping[str, object]) -> int | None:
    """How many updates Adam has made, which is how many steps the training has taken; None where it does not say."""
    states = optimizer["state"]
    kept = [each for each in states.values() if isinstance(each, Mapping)] if isinstance(states, Mapping) else []
    counts = [_count(each.get("step")) for each in kept]
    return max((count for count in counts if count is not None), default=None)


def _count(value: object) -> int | None:
    """A number of steps, which newer versions of torch keep in a tensor; None if it is none."""
    match value:
        case Tensor() if value.dtype in _COUNTS and value.shape in ((), (1,)) and 0 <= float(value) < _MOST:
            return int(value)
        case int() if 0 <= value < _MOST:
            return int(value)
    return None


def _refuse_score_sde(path: Path, document: Mapping[object, object]) -> None:
    if {"model", "ema", "optimizer"} <= document.keys():
        raise CheckpointError(
            f"{path}: this is a checkpoint of score_sde_pytorch ({', '.join(map(str, document))}), whose networks "
            "scorekit does not have; expected one of ncsn or ncsnv2"
        )


def _shown(part: object) -> str:
    match part:
        case list() | tuple():
            return f"a {type(part).__name__} of {len(part)}"
        case Mapping():
            return f"a mapping of {len(part)} with the keys {brief(list(part)[:3])}" if part else "an empty mapping"
        case Tensor():
            return f"a tensor {tuple(part.shape)}, {part.dtype}, {part.layout}"
    return brief(part)
