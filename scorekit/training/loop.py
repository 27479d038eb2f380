r"""The training loop: a generator, so that logging and stopping belong to the caller.

Step n (1, 2, ...) works on the global batch of B examples at places (n - 1) B .. n B - 1 of the `DataOrder`. Row r of
that batch draws everything (dequantisation, flips, sigma, eps, probes) from stream r of
`PerChain(seed).fork("train").fork(n)`; its condition, if there are any, goes with its example. So neither the number of
processes nor the number of pieces changes what is drawn, and the gradient

    g = (1 / B) sum_r grad loss_r

is the same up to the order of the sum; and everything that is random in a run is a function of (seed, n).
"""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple, cast, final

import torch
from torch import Tensor
from torch.optim.swa_utils import PARAM_LIST, AveragedModel, get_ema_multi_avg_fn

from scorekit.base import PerChain, ScoreModel
from scorekit.data import moments
from scorekit.data.sources import Source
from scorekit.data.wrapping import Data, as_source
from scorekit.objective import Loss, Objective
from scorekit.training.batches import explained, read
from scorekit.training.errors import NonFiniteLossError
from scorekit.training.order import DataOrder
from scorekit.training.runtime import Runtime, choose_runtime
from scorekit.training_config import TrainingConfig

_STREAM_EXAMPLES = 10_000  # how many examples of a stream, which may never end, its moments are taken from


class TrainStep(NamedTuple):
    """One step of training, after its update."""

    step: int
    loss: float  # the mean over the global batch
    grad_norm: float  # of the gradient before clipping
    learning_rate: float
    seconds: float  # wall time of the step
    examples: int  # the global batch size
    sigma: Tensor  # (B,): the level of each of this process's examples
    per_example: Tensor  # (B,): the weighted loss of each
    held_out: dict[float, float] | None = None  # sigma -> held-out loss, at the steps that have one

    @property
    def examples_per_second(self) -> float:
        """Over all processes."""
        return self.examples / self.seconds

    @property
    def per_sigma(self) -> dict[float, float]:
        """The mean loss of this process's examples at each level that occurs among them, from the largest level on."""
        return {
            sigma: float(self.per_example[self.sigma == sigma].mean())
            for sigma in sorted(set(self.sigma.tolist()), reverse=True)
        }


@final
class Training:
    """A training run: what it is made of, how far it has come, and the loop.

    Args:
        objective: what is minimised; its model is trained in place.
        data: anything that `scorekit.data.as_source` takes; for a conditional model, `as_source(data,
            condition=...)`. Batches are cast to the type of the model's weights. The data's moments are stored with the
            model.
        config: the numbers.
        runtime: device, precision and processes; None for plain torch on the model's device, or accelerate where the
            launcher started several processes or `config.precision` asks for it.

    Raises:
        ValueError: where autograd is off; if the batch size is no multiple of processes times pieces, or the model has
            nothing to train.
    """

    def __init__(self, objective: Objective, data: Data, config: TrainingConfig, *, runtime: Runtime | None = None):
        _require_autograd()
        self.objective, self.config = objective, config
        self.source: Source = as_source(data)
        self.runtime = choose_runtime(config, objective) if runtime is None else runtime
        _check_batch(config, self.runtime)
        objective.to(self.runtime.device)
        self.parameters = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        if not self.parameters:
            raise ValueError(f"{type(self.model).__name__} has no weights to train: none requires a gradient")
        _store_moments(self.model, self.source)
        self._dtype = self.model.dtype
        self.ema = None if config.ema_decay is None else AveragedModel(self.model, multi_avg_fn=self._average)
        if self.ema is not None:
            self.ema.requires_grad_(False)
        self.optimizer = _adam(list(self.parameters.values()), config)
        self.runtime.prepare(objective, self.optimizer)
        self._draws = PerChain(config.seed).fork("train")
        self._order = DataOrder(self.source.num_examples, config.seed)
        self.step = 0
        self.position = 0  # how many examples were used: the place in the data order
        self._asked_to_stop = self._agreed_to_stop = False

    @property
    def model(self) -> ScoreModel:
        """The model in training."""
        return self.objective.model

    @property
    def best(self) -> ScoreModel:
        """The model to use: the moving average if one is kept, else the model itself."""
        return self.model if self.ema is None else cast(ScoreModel, self.ema.module)

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files."""
        return self.runtime.rank == 0

    def stop(self) -> None:
        """Ask the loop to end after the step in hand.

        Several processes agree on it in the middle of a step, so that all end after the same one: this or the next.
        """
        self._asked_to_stop = True

    def steps(self) -> Iterator[TrainStep]:
        """Train, from the step reached so far to `config.num_steps`; each step is yielded after its update.

        Raises:
            ValueError: where autograd is off; with the first batch, if the estimator cannot train the model.
            TypeError, ValueError, IndexError: what the network says of a batch or of its conditions (to a conditional
                network on data without conditions, say), with the step and what it was given.
            NonFiniteLossError: before the update that would spoil the weights, naming the step and the levels.
        """
        while self.step < self.config.num_steps and not self._stopping:
            yield self._advance()

    @property
    def _stopping(self) -> bool:
        return self._agreed_to_stop if self.runtime.num_processes > 1 else self._asked_to_stop

    def _advance(self) -> TrainStep:
        _require_autograd()
        start, step = time.perf_counter(), self.step + 1
        losses = self._gradient(step)
        loss, norm = self._verdict(step, losses)
        rate = self.config.learning_rate_at(step)
        self._update(rate, norm)
        self.step, self.position = step, self.position + self.config.batch_size
        seconds, sigma, per_example = time.perf_counter() - start, *_rows(losses)
        return TrainStep(step, loss, norm, rate, seconds, self.config.batch_size, sigma, per_example)

    def _gradient(self, step: int) -> list[Loss]:
        """Leave the gradient of the global batch in the weights, piece by piece.

        The data's transform draws from the rows' own streams, the objective from forks of them.
        """
        pieces, streams, losses = self.config.accumulate, self._draws.fork(step), []
        rows = self.config.batch_size // (self.runtime.num_processes * pieces)
        for piece in range(pieces):
            first = (self.runtime.rank * pieces + piece) * rows
            draws = streams.shift(first)
            indices = self._order.indices(self.position + first, rows).to(self.runtime.device)
            batch = read(self.source, indices, self._dtype, generator=draws)
            with explained(step, self.model, batch), self.runtime.piece(last=piece == pieces - 1):
                if step == 1 and piece == 0:
                    self.objective.check_score(*batch)
                loss = self.runtime.loss(*batch, generator=draws)
                self.runtime.backward(loss.loss if pieces == 1 else loss.loss / pieces)
            losses.append(loss)
        return losses

    def _verdict(self, step: int, losses: list[Loss]) -> tuple[float, float]:
        """Loss and norm of the gradient over all processes, once they are known to be finite; whether to stop, too.

        Reading them waits for the device: once a step, after all of the step's heavy work was given to it.
        """
        mine = (
            losses[0].loss.detach() if len(losses) == 1 else torch.stack([each.loss for each in losses]).detach().mean()
        )
        norm = self.runtime.grad_norm([weight.grad for weight in self.parameters.values() if weight.grad is not None])
        if self.runtime.num_processes > 1:
            shared = self.runtime.mean(torch.stack([mine, mine.new_tensor(float(self._asked_to_stop))]))
            mine, self._agreed_to_stop = shared[0], bool(shared[1] > 0)
        loss, size = float(mine), float(norm)
        overflow = self.config.precision == "fp16" and math.isfinite(loss)  # loss scaling skips such a step
        if not (math.isfinite(loss) and (math.isfinite(size) or overflow)):
            raise self._error(step, loss, size, losses)
        return loss, size

    def _error(self, step: int, loss: float, norm: float, losses: list[Loss]) -> NonFiniteLossError:
        self.optimizer.zero_grad()
        sigma, per_example = (self.runtime.gather(each).flatten() for each in _rows(losses))
        bad = ~per_example.isfinite()
        levels = sorted(set(sigma[bad].tolist() if bad.any() else sigma.tolist()), reverse=True)
        shown = ", ".join(f"{level:.4g}" for level in levels[:12]) + (", ..." if len(levels) > 12 else "")
        return NonFiniteLossError(
            f"step {step}: the loss is {loss} and the norm of its gradient {norm}; {int(bad.sum())} of {len(bad)} "
            f"examples have no finite loss; sigma = {shown}. The update was not applied: the weights are those of "
            f"step {step - 1}"
        )

    def _update(self, rate: float, norm: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        limit = self.config.clip_norm
        if limit is not None and limit < norm < math.inf:
            for weight in self.parameters.values():
                if weight.grad is not None:
                    weight.grad.mul_(limit / norm)
        if self.runtime.update() and self.ema is not None:
            self.ema.update_parameters(self.model)

    def _average(self, average: PARAM_LIST, weights: PARAM_LIST, count: Tensor | int) -> None:
        """Take the weights of the step in hand into their average, in place."""
        get_ema_multi_avg_fn(self.config.ema_decay_at(self.step + 1))(average, weights, count)


def _require_autograd() -> None:
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        raise ValueError("training under torch.no_grad() or inference_mode(): there would be no gradient to follow")


def _check_batch(config: TrainingConfig, runtime: Runtime) -> None:
    pieces = runtime.num_processes * config.accumulate
    if config.batch_size % pieces:
        raise ValueError(
            f"TrainingConfig(batch_size={config.batch_size}): expected a multiple of {pieces}, that is of "
            f"{runtime.num_processes} processes times accumulate = {config.accumulate}"
        )


def _store_moments(model: ScoreModel, source: Source) -> None:
    """A stream's are an estimate, and one that can be read only once leaves them to the caller's `set_moments`."""
    if source.num_examples is not None:
        model.set_moments(*moments(source))
    elif model.moments is None:
        model.set_moments(*moments(source, _STREAM_EXAMPLES))


def _adam(parameters: list[torch.nn.Parameter], config: TrainingConfig) -> torch.optim.Adam:
    return torch.optim.Adam(
        parameters,
        lr=config.learning_rate,
        betas=(float(config.betas[0]), float(config.betas[1])),
        eps=config.adam_eps,
        weight_decay=config.weight_decay,
        amsgrad=config.amsgrad,
    )


def _rows(losses: list[Loss]) -> tuple[Tensor, Tensor]:
    """Level and loss of each of this process's examples."""
    if len(losses) == 1:
        return losses[0].sigma, losses[0].per_example.detach()
    return torch.cat([each.sigma for each in losses]), torch.cat([each.per_example.detach() for each in losses])
