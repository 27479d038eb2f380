"""The held-out loss of each noise level, with the same draws every time, so that two steps differ by their weights
alone.
"""

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor

from scorekit.base import PerChain, ScoreModel
from scorekit.data.sources import Source
from scorekit.data.wrapping import Data, as_source
from scorekit.objective import Objective
from scorekit.training.batches import read
from scorekit.training.runtime import Runtime


@final
class HeldOut:
    """The mean weighted loss at each level of a schedule over examples that are not trained on.

    Example r draws its eps at level i from stream r of `PerChain(seed).fork("held-out").fork(i)`. Processes share the
    examples.

    Args:
        data: what `scorekit.data.as_source` takes, with random access; conditioned as the data of training are.
        seed: of the draws.
        batch_size: how many examples at a time, over all processes.

    Raises:
        ValueError: for a stream, whose examples can be read only once.
    """

    def __init__(self, data: Data, *, seed: int, batch_size: int):
        self._source = as_source(data)
        if self._source.num_examples is None:
            raise ValueError(
                f"held_out={data!r}: expected data with random access, since they are read many times; got a stream"
            )
        self._draws, self._batch_size = PerChain(seed).fork("held-out"), batch_size

    def require_conditions_of(self, training: Source) -> None:
        """Refuse examples that are not conditioned as those of training are, before the first of many steps.

        Raises:
            ValueError: naming both.
        """
        if self._source.condition_kind != training.condition_kind:
            raise ValueError(
                f"held_out: expected examples conditioned as those of training are, with {training.condition_kind}; "
                f"got {self._source.condition_kind}. as_source(data, condition=...) gives them theirs"
            )

    def losses(self, objective: Objective, model: ScoreModel, runtime: Runtime) -> dict[float, float]:
        """sigma -> loss, from the largest level on. Every process calls it.

        Args:
            objective: estimator, levels and weight.
            model: whose score is measured: the model in training, or its average.
            runtime: whose processes share the work.
        """
        measured = Objective(model, objective.estimator, objective.noise, objective.weight)
        levels = objective.noise.levels().tolist()
        with (
            model.evaluating(),
            torch.set_grad_enabled(not objective.estimator.needs_noise),
        ):  # others differentiate the score
            sums = torch.stack(
                [self._sum(measured, level, self._draws.fork(index), runtime) for index, level in enumerate(levels)]
            )
        totals = runtime.mean(sums) * runtime.num_processes
        return dict(zip(levels, (totals / len(self._source)).tolist(), strict=True))

    def _sum(self, objective: Objective, level: float, draws: PerChain, runtime: Runtime) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for first, count in self._parts(runtime):
            indices = torch.arange(first, first + count, device=runtime.device)
            streams = draws.fork("data").shift(first)
            x, condition = read(self._source, indices, objective.model.dtype, generator=streams)
            loss = objective.loss_at(x, x.new_full((count,), level), condition, generator=draws.shift(first))
            total += loss.per_example.detach().cpu().double().sum()
        return total

    def _parts(self, runtime: Runtime) -> Iterator[tuple[int, int]]:
        """(first, count) of each piece of this process's examples."""
        begin, end = (len(self._source) * rank // runtime.num_processes for rank in (runtime.rank, runtime.rank + 1))
        size = max(1, self._batch_size // runtime.num_processes)
        yield from ((first, min(size, end - first)) for first in range(begin, end, size))
