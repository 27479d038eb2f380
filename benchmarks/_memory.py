"""What autograd holds for the backward pass."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def kept_bytes(forward: Callable[[], Tensor], module: nn.Module) -> int:
    """Bytes that autograd holds when `forward` has given its result: each storage once, without `module`'s
    parameters."""
    kept: dict[int, torch.UntypedStorage] = {}  # the storages themselves: an address that is freed is used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    del result
    return sum(storage.nbytes() for address, storage in kept.items() if address not in weights)
