"""`fit` and `train`: the loop with nothing around it, and the loop with checkpoints, log, validation, progress bar
and signals.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, final

import torch

from scorekit.base import ScoreModel
from scorekit.checkpoint import CheckpointError, CheckpointStore
from scorekit.data.wrapping import Data
from scorekit.objective import Objective
from scorekit.training.errors import NonFiniteLossError
from scorekit.training.logs import JsonLines
from scorekit.training.loop import Training, TrainStep
from scorekit.training.runtime import Runtime, choose_runtime
from scorekit.training.signals import stop_on_signals
from scorekit.training.state import restore, snapshot
from scorekit.training.validation import HeldOut
from scorekit.training_config import TrainingConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKPOINTS, LOG = "checkpoint", "metrics.jsonl"


def fit(
    objective: Objective,
    data: Data,
    *,
    num_steps: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    warmup_steps: int = 0,
    decay: Literal["constant", "cosine", "linear"] = "constant",
    clip_norm: float | None = None,
    seed: int = 0,
) -> Iterator[TrainStep]:
    """Train the objective's model in place, yielding each step after its update: log, stop and save as you like.

    The data's mean and standard deviation are stored with the model. For a moving average of the weights, checkpoints
    and resuming use `Training`, or `train`, which bundles them.

    Args:
        objective: what is minimised.
        data: anything that `scorekit.data.as_source` takes; a tensor (N, *E), for instance, or
            `as_source(tensor, condition=labels)` for a conditional model.
        num_steps, batch_size, learning_rate, warmup_steps, decay, clip_norm, seed: see `TrainingConfig`.

    Returns:
        The steps; nothing is trained before the first is asked for.

    Raises:
        ValueError: at once, for a number out of its range, or where autograd is off.
        NonFiniteLossError: before an update that would spoil the weights.
    """
    config = TrainingConfig(
        num_steps, batch_size, learning_rate, warmup_steps=warmup_steps, decay=decay, clip_norm=clip_norm, seed=seed
    )
    return Training(objective, data, config).steps()


@final
class Outcome(NamedTuple):
    """How a call of `train` ended."""

    step: int  # the step reached
    num_steps: int  # the step aimed at
    signal: str | None  # the signal that stopped it: "SIGTERM" or "SIGINT"
    model: ScoreModel  # the model to use: the moving average if one is kept
    runtime: Runtime  # where it ran: for sampling on the same processes

    @property
    def is_main(self) -> bool:
        """False on the processes that write nothing."""
        return self.runtime.rank == 0

    @property
    def finished(self) -> bool:
        """Whether the run is complete."""
        return self.step >= self.num_steps


def train(
    objective: Objective,
    data: Data,
    config: TrainingConfig,
    *,
    out: str | Path,
    resume: bool = False,
    held_out: Data | None = None,
    device: torch.device | str | None = None,
    accelerator: "Accelerator | None" = None,
    progress: bool | None = None,
    callbacks: Sequence[Callable[[TrainStep], None]] = (),
) -> Outcome:
    """Train, with everything a long run needs in one folder.

        OUT/checkpoint/     step-N folders and latest.json: what `scorekit.load` reads
        OUT/metrics.jsonl   the log

    SIGTERM or Ctrl-C ends the run after the step in hand, with a checkpoint; a second one ends it at once. The same
    call on N processes (`torchrun --nproc-per-node N script.py`) trains the same model; one process writes.

    Args:
        objective: what is minimised; its model is trained in place.
        data: anything that `scorekit.data.as_source` takes; `as_source(images, condition="labels")`, say, for a
            conditional model.
        config: the numbers.
        out: the run's folder.
        resume: go on from the newest checkpoint in `out`, if there is one.
        held_out: examples for the loss of each level, each `config.validate_every` steps; of the moving average, if
            one is kept. They are conditioned as `data` are.
        device: where to train; None for the model's device, or accelerate's choice where it runs.
        accelerator: an `accelerate.Accelerator` set up by the caller.
        progress: a progress bar on stderr; None for one if stderr is a terminal.
        callbacks: called with each step, on the main process.

    Raises:
        CheckpointError: if `out` holds a run and `resume` is False; if its checkpoints are damaged or of another run.
        NonFiniteLossError: if the loss or its gradient is NaN or infinite; the last checkpoint stays, and the error
            names it.
        ValueError: if `validate_every` and `held_out` are not given together, or the two kinds of data are conditioned
            differently; where autograd is off.
    """
    if (held_out is None) != (config.validate_every is None):
        given = "None" if held_out is None else "..."
        raise ValueError(
            f"train(held_out={given}) with TrainingConfig(validate_every={config.validate_every}): expected both or "
            "neither"
        )
    store = CheckpointStore(Path(out) / CHECKPOINTS)
    found = store.entries()
    if found and not resume:
        raise CheckpointError(
            f"{store.folder}: expected no run there; found one at step {found[0].step}. Resume it, or "
            "take another folder"
        )
    training = Training(
        objective, data, config, runtime=choose_runtime(config, objective, device=device, accelerator=accelerator)
    )
    if found:
        restore(training, store.read())
        if training.step > config.num_steps:
            raise CheckpointError(
                f"{store.folder}: the run is at step {training.step}, beyond num_steps = {config.num_steps}: train to "
                "a later step, or take another folder"
            )
    validation = None if held_out is None else HeldOut(held_out, seed=config.seed, batch_size=config.batch_size)
    if validation is not None:
        validation.require_conditions_of(training.source)
    with ExitStack() as stack:
        received = stack.enter_context(stop_on_signals(training.stop))
        report = _reporters(training, Path(out), progress, callbacks, stack) if training.is_main else ()
        try:
            saved = _run(training, store, validation, report, saved=training.step if found else -1)
        except NonFiniteLossError as error:
            error.add_note(_last_checkpoint(store))
            raise
        if saved != training.step:
            checkpoint(training, store)
    return Outcome(training.step, config.num_steps, received[0] if received else None, training.best, training.runtime)


def checkpoint(training: Training, store: CheckpointStore) -> None:
    """Save the run as it stands. Every process calls it; one writes."""
    files = snapshot(training)
    if files is not None:
        store.write(training.step, files, keep_last=training.config.keep_last, keep_every=training.config.keep_every)


def _run(
    training: Training,
    store: CheckpointStore,
    validation: HeldOut | None,
    report: Sequence[Callable[[TrainStep], None]],
    saved: int,
) -> int:
    """The loop; returns the step of the last checkpoint. Steps are logged before they are saved: no line is lost."""
    config = training.config
    for step in training.steps():
        if validation is not None and _due(step.step, config.validate_every):
            step = step._replace(held_out=validation.losses(training.objective, training.best, training.runtime))
        for call in report:
            call(step)
        if _due(step.step, config.checkpoint_every):
            checkpoint(training, store)
            saved = step.step
    return saved


def _reporters(
    training: Training,
    out: Path,
    progress: bool | None,
    callbacks: Sequence[Callable[[TrainStep], None]],
    stack: ExitStack,
) -> tuple[Callable[[TrainStep], None], ...]:
    from tqdm.auto import tqdm

    log = JsonLines(out / LOG, after=training.step)
    stack.callback(log.close)
    hidden = None if progress is None else not progress
    bar = stack.enter_context(tqdm(total=training.config.num_steps, initial=training.step, unit="step", disable=hidden))

    def show(step: TrainStep) -> None:
        bar.update()
        if _due(step.step, training.config.log_every):
            bar.set_postfix_str(f"loss {step.loss:.4g}", refresh=False)

    def write(step: TrainStep) -> None:
        if _due(step.step, training.config.log_every) or step.held_out is not None:
            log.write(step)

    return (write, *callbacks, show)


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def _last_checkpoint(store: CheckpointStore) -> str:
    entries = store.entries()
    return (
        f"the last checkpoint is {store.folder / entries[0].folder}"
        if entries
        else f"{store.folder} has no checkpoint yet"
    )
