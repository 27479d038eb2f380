"""Training: one loop, a generator. `fit` is its thin form; `train` adds checkpoints, log, validation and signals."""

from scorekit.training.errors import NonFiniteLossError
from scorekit.training.logs import JsonLines, TensorBoardLog
from scorekit.training.loop import Training, TrainStep
from scorekit.training.run import Outcome, checkpoint, fit, train
from scorekit.training.runtime import PlainRuntime, Runtime, choose_runtime
from scorekit.training.state import restore, snapshot
from scorekit.training.validation import HeldOut
from scorekit.training_config import TrainingConfig

__all__ = [
    "HeldOut", "JsonLines", "NonFiniteLossError", "Outcome", "PlainRuntime", "Runtime", "TensorBoardLog", "TrainStep",
    "Training", "TrainingConfig", "checkpoint", "choose_runtime", "fit", "restore", "snapshot", "train",
]  # fmt: skip
