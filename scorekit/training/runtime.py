"""Where training runs: on one device in this process by plain torch, or wherever accelerate is told to.

The loop asks a `Runtime` for five things: the loss of a piece of the batch, its gradient, the gradient's norm, the
update, and what all processes say. It knows nothing of devices, precisions and processes itself.
"""

import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from scorekit.base import Generator
from scorekit.config import Json
from scorekit.objective import Loss, Objective
from scorekit.training_config import TrainingConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


class Runtime(ABC):
    """Device, precision and processes of a training run. `prepare` comes first.

    Args:
        device: where this process trains.
        rank: its number.
        num_processes: how many there are.
    """

    def __init__(self, device: torch.device, rank: int, num_processes: int):
        self.device, self.rank, self.num_processes = device, rank, num_processes

    @abstractmethod
    def prepare(self, objective: Objective, optimizer: torch.optim.Optimizer) -> None:
        """Take over the objective, which is on `device`, and its optimiser."""

    @abstractmethod
    def loss(self, x: Tensor, condition: Tensor | None, *, generator: Generator) -> Loss:
        """The loss of one piece of this process's examples, with what they are conditioned on."""

    @abstractmethod
    def piece(self, *, last: bool) -> AbstractContextManager[object]:
        """The context for loss and backward of one piece; the last piece of a step combines the processes'
        gradients.
        """

    @abstractmethod
    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss ()."""

    @abstractmethod
    def grad_norm(self, gradients: list[Tensor]) -> Tensor:
        """The norm () over all gradients, with any loss scaling undone."""

    @abstractmethod
    def update(self) -> bool:
        """One step of the optimiser, then no gradients. False if loss scaling skipped it."""

    @abstractmethod
    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes, element by element."""

    @abstractmethod
    def gather(self, values: Tensor) -> Tensor:
        """The values (*S) of all processes: (num_processes, *S), on every process."""

    @abstractmethod
    def scaler_state(self) -> dict[str, Json] | None:
        """The state of loss scaling; None without it."""

    @abstractmethod
    def load_scaler_state(self, state: dict[str, Json] | None) -> None:
        """Take up the state of loss scaling; None changes nothing."""


@final
class PlainRuntime(Runtime):
    """One process, one device, the model's own precision.

    Args:
        device: where to train.
    """

    def __init__(self, device: torch.device | str):
        super().__init__(torch.device(device), 0, 1)

    def prepare(self, objective: Objective, optimizer: torch.optim.Optimizer) -> None:
        """Keep both."""
        self._objective, self._optimizer = objective, optimizer

    def loss(self, x: Tensor, condition: Tensor | None, *, generator: Generator) -> Loss:
        """The objective's."""
        return self._objective(x, condition, generator=generator)

    def piece(self, *, last: bool) -> AbstractContextManager[object]:
        """Nothing to do."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Autograd's."""
        loss.backward()

    def grad_norm(self, gradients: list[Tensor]) -> Tensor:
        """The Euclidean norm of the norms."""
        return total_norm(gradients)

    def update(self) -> bool:
        """The optimiser's step."""
        self._optimizer.step()
        self._optimizer.zero_grad()
        return True

    def mean(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    def gather(self, values: Tensor) -> Tensor:
        """The values, with an axis of length one before them."""
        return values.unsqueeze(0)

    def scaler_state(self) -> dict[str, Json] | None:
        """None."""
        return None

    def load_scaler_state(self, state: dict[str, Json] | None) -> None:
        """Nothing to take up."""


def total_norm(gradients: list[Tensor]) -> Tensor:
    """The Euclidean norm () of all gradients together."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def choose_runtime(
    config: TrainingConfig,
    model: nn.Module,
    *,
    device: torch.device | str | None = None,
    accelerator: "Accelerator | None" = None,
) -> Runtime:
    """accelerate's runtime where several processes, a reduced precision or an accelerator is asked for; else plain
    torch's.

    Args:
        config: its `precision`.
        model: it stays on its device, if none is named.
        device: where to train; None for the model's device (one process) or for accelerate's choice.
        accelerator: one that the caller has set up.

    Raises:
        ValueError: if both a device and an accelerator are given.
        ImportError: if accelerate is needed and not installed, with the line that installs it.
    """
    if accelerator is not None and device is not None:
        raise ValueError(
            f"device={device!r} and an accelerator, which has {accelerator.device}: expected one of the two"
        )
    if accelerator is None and config.precision == "no" and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        first = next(model.parameters(), torch.empty(0)).device
        return PlainRuntime(first if device is None else device)
    try:
        from scorekit.training.accelerated import AccelerateRuntime, make_accelerator
    except ImportError as error:
        raise ImportError(
            f"several processes and precision={config.precision!r} need accelerate: pip install 'scorekit[train]'"
        ) from error
    return AccelerateRuntime(make_accelerator(config.precision, device) if accelerator is None else accelerator)
