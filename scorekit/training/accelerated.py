"""Training on many processes, in reduced precision, on other accelerators: accelerate's part.

Used are its device, autocast, loss scaling, DDP and collectives. Not used are its loaders, which reorder the data by
a rule of their own, its accumulation, since the pieces of a batch must draw by example, and `save_state`, which
pickles.
"""

import atexit
import time
from contextlib import AbstractContextManager, nullcontext
from typing import final

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from scorekit.base import Generator
from scorekit.config import Json
from scorekit.objective import Loss, Objective
from scorekit.training.runtime import Runtime, total_norm

_LET_GO = 0.5  # seconds: with threads made slow, 11 of 15 processes were aborted without it, and none of 15 with .2


@final
class _Wrapped(nn.Module):
    """What accelerate wraps and patches, so that the caller's objective stays as it is."""

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective

    def forward(self, x: Tensor, condition: Tensor | None, generator: Generator) -> Loss:
        return self.objective(x, condition, generator=generator)


@final
class AccelerateRuntime(Runtime):
    """A runtime around an `accelerate.Accelerator`.

    Args:
        accelerator: set up for the devices, precision and processes wanted.

    Raises:
        ValueError: if it accumulates gradients itself.
    """

    def __init__(self, accelerator: Accelerator):
        if accelerator.gradient_accumulation_steps != 1:
            raise ValueError(
                f"Accelerator(gradient_accumulation_steps={accelerator.gradient_accumulation_steps}): expected 1; the "
                "training loop accumulates by TrainingConfig(accumulate=...), with draws by example"
            )
        super().__init__(accelerator.device, accelerator.process_index, accelerator.num_processes)
        self._accelerator = accelerator
        atexit.register(_leave)

    def prepare(self, objective: Objective, optimizer: torch.optim.Optimizer) -> None:
        """Wrap both by accelerate's rules for the precision and the processes."""
        self._module, self._optimizer = self._accelerator.prepare(_Wrapped(objective), optimizer)

    def loss(self, x: Tensor, condition: Tensor | None, *, generator: Generator) -> Loss:
        """The wrapped objective's."""
        return self._module(x, condition, generator)

    def piece(self, *, last: bool) -> AbstractContextManager[object]:
        """No exchange of gradients before the last piece."""
        return nullcontext() if last else self._accelerator.no_sync(self._module)

    def backward(self, loss: Tensor) -> None:
        """accelerate's, scaled in fp16."""
        self._accelerator.backward(loss)

    def grad_norm(self, gradients: list[Tensor]) -> Tensor:
        """After unscaling."""
        self._accelerator.unscale_gradients(self._optimizer)
        return total_norm(gradients)

    def update(self) -> bool:
        """The optimiser's step, unless fp16 gradients overflowed."""
        self._optimizer.step()
        self._optimizer.zero_grad()
        return not self._accelerator.optimizer_step_was_skipped

    def mean(self, values: Tensor) -> Tensor:
        """All-reduce, by way of the runtime's device."""
        return self._accelerator.reduce(values.to(self.device), reduction="mean").to(values.device)

    def gather(self, values: Tensor) -> Tensor:
        """All-gather, by way of the runtime's device."""
        return self._accelerator.gather(values.to(self.device).unsqueeze(0)).to(values.device)

    def scaler_state(self) -> dict[str, Json] | None:
        """fp16's scale and its counters."""
        return None if self._accelerator.scaler is None else self._accelerator.scaler.state_dict()

    def load_scaler_state(self, state: dict[str, Json] | None) -> None:
        """Take them up."""
        if state and self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state)


def make_accelerator(precision: str, device: torch.device | str | None) -> Accelerator:
    """An accelerator for a precision and a kind of device; on the CPU where that is asked for or nothing else is there.

    Args:
        precision: "no", "bf16" or "fp16".
        device: "cpu"; or the kind of accelerator that this machine has, each process then taking the one of its
            number; or None.

    Raises:
        ValueError: for a device that is not there; by accelerate, for a precision that the device does not have.
    """
    kind = None if device is None else torch.device(device).type
    available = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if kind not in (None, "cpu") and (available is None or kind != available.type):
        raise ValueError(
            f"device={str(device)!r}: this machine has cpu{'' if available is None else f' and {available.type}'}"
        )
    if kind == "cpu" or available is None:
        return Accelerator(cpu=True, mixed_precision=precision)
    return Accelerator(mixed_precision=precision)


def _leave() -> None:
    """Leave the group of processes before the interpreter goes.

    The group's threads outlive it, since a module wrapped by DDP holds on to it. One that still has to let go of the
    tensors of its last exchange needs the interpreter for that, and would abort the process if it came too late.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        time.sleep(_LET_GO)
        torch.distributed.destroy_process_group()
