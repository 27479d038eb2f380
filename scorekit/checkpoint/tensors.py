"""Tensors to bytes and back, in the safetensors format: no pickle, and nothing that runs on load."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from scorekit.checkpoint.errors import CheckpointError


def encode(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors as safetensors bytes.

    Views, non-contiguous and shared tensors are written out in full under each of their names: the format refuses
    them as they are.

    Raises:
        TypeError: if a value is not a tensor (a module's extra state, say).
    """
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"state {name!r}: a checkpoint holds tensors and JSON only; got {type(value).__name__}")
    return safetensors.torch.save({name: _own_copy(tensor) for name, tensor in tensors.items()})


def decode(path: Path, content: bytes) -> dict[str, Tensor]:
    """The tensors in safetensors bytes, on the CPU; `path` is for the message.

    Raises:
        CheckpointError: if the bytes are not a whole safetensors file.
    """
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: expected a safetensors file; {error}") from error


def _own_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
