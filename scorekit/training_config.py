r"""The numbers of a training run; the learning rate and the average's decay as functions of the step number.

With n the step number (1, 2, ...), w `warmup_steps`, N `num_steps` and t = (n - 1 - w) / (N - w) in [0, 1) from step
w + 1 on,

    rate(n) = learning_rate * min(1, n / w) * decay(t),     decay = 1,  (1 + cos(pi t)) / 2  or  1 - t.

It never multiplies the optimiser's own rate, so that a schedule cannot be lost in a checkpoint.

The moving average starts as the weights of step 1 and goes on, for n = 2, 3, ..., with

    avg <- d(n) avg + (1 - d(n)) weights,     d(n) = min(ema_decay, n / (n + 9))   or plain  d(n) = ema_decay.

The first form, (1 + m) / (10 + m) after m = n - 1 steps, is that of Song et al. (arXiv 2011.13456): the average always
spans about the last ninth of the run, until it spans 1 / (1 - d) steps. The plain form holds d^(n - 1) of the first
weights: 5 percent after 600 steps with d = .995, 30 percent after 1,200 with .999.
"""

import math
from dataclasses import dataclass
from typing import Literal, final

DECAYS = ("constant", "cosine", "linear")
PRECISIONS = ("no", "bf16", "fp16")


@final
@dataclass(frozen=True)
class TrainingConfig:
    """How to train: Adam with NCSN's settings by default (Song and Ermon, arXiv 1907.05600, appendix B.2).

    Args:
        num_steps: how many steps to train.
        batch_size: examples a step, over all processes and pieces.
        learning_rate: Adam's, at its highest.
        betas, adam_eps, weight_decay, amsgrad: Adam's.
        warmup_steps: over how many steps the rate rises linearly from 0.
        decay: "constant", "cosine" or "linear", to 0 at the end of the run.
        ema_decay: decay of the moving average of the weights; None for no average.
        ema_warmup: True to let the average forget the first weights sooner (the formula is above); False for the plain
            form.
        clip_norm: the largest norm of the gradient over all weights; None for no limit.
        accumulate: in how many pieces each process works through its part of a batch, to save memory; the gradient is
            the same.
        precision: "no", or "bf16" or "fp16" inside the network by autocast (needs scorekit[train]).
        seed: decides the order of the data, sigma, eps, and every other draw, for each example of the global batch.
        log_every: a line in the log each so many steps (`train`).
        validate_every: the held-out loss of each sigma each so many steps; None for never (`train`).
        checkpoint_every: a checkpoint each so many steps, and one at the end (`train`).
        keep_last: how many of the newest checkpoints to keep.
        keep_every: keep those of the multiples of this step number as well.

    Raises:
        ValueError: for a number out of its range, with the range.
    """

    num_steps: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    adam_eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    warmup_steps: int = 0
    decay: Literal["constant", "cosine", "linear"] = "constant"
    ema_decay: float | None = None
    ema_warmup: bool = True
    clip_norm: float | None = None
    accumulate: int = 1
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: int = 0
    log_every: int = 10
    validate_every: int | None = None
    checkpoint_every: int = 1000
    keep_last: int = 2
    keep_every: int | None = None

    def __post_init__(self):
        for name in ("num_steps", "batch_size", "accumulate", "log_every", "checkpoint_every", "keep_last"):
            self._require_count(name, least=1)
        for name in ("validate_every", "keep_every"):
            self._require_count(name, least=1, optional=True)
        self._require_count("warmup_steps", least=0)
        self._require_count("seed", least=0)
        self._require(0 < self.learning_rate < math.inf, "learning_rate", "0 < learning_rate < inf")
        self._require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers in [0, 1)"
        )
        self._require(0 <= self.adam_eps < math.inf, "adam_eps", "0 <= adam_eps < inf")
        self._require(0 <= self.weight_decay < math.inf, "weight_decay", "0 <= weight_decay < inf")
        self._require(self.ema_decay is None or 0 <= self.ema_decay < 1, "ema_decay", "None or a number in [0, 1)")
        self._require(type(self.ema_warmup) is bool, "ema_warmup", "True or False")
        self._require(
            self.clip_norm is None or 0 < self.clip_norm < math.inf, "clip_norm", "None or 0 < clip_norm < inf"
        )
        self._require(self.seed < 2**63, "seed", "seed < 2^63")
        self._require(self.num_steps < 2**32, "num_steps", "num_steps < 2^32")
        self._require(
            self.batch_size % self.accumulate == 0, "batch_size", f"a multiple of accumulate = {self.accumulate}"
        )
        self._require(self.decay in DECAYS, "decay", f"one of {', '.join(map(repr, DECAYS))}")
        self._require(self.precision in PRECISIONS, "precision", f"one of {', '.join(map(repr, PRECISIONS))}")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step 1, 2, ..., num_steps."""
        if step <= self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if self.decay == "constant":
            return self.learning_rate
        t = min(1.0, (step - 1 - self.warmup_steps) / (self.num_steps - self.warmup_steps))
        return self.learning_rate * (1 - t if self.decay == "linear" else (1 + math.cos(math.pi * t)) / 2)

    def ema_decay_at(self, step: int) -> float:
        """The decay d of the moving average in step 1, 2, ..., num_steps; needs an `ema_decay`.

        Raises:
            ValueError: if no average is kept.
        """
        if self.ema_decay is None:
            raise ValueError("TrainingConfig(ema_decay=None): expected a number in [0, 1): no average is kept")
        return min(self.ema_decay, step / (step + 9)) if self.ema_warmup else self.ema_decay

    def _require_count(self, name: str, least: int, *, optional: bool = False) -> None:
        value = self.__dict__[name]
        good = (optional and value is None) or (type(value) is int and value >= least)
        self._require(good, name, f"an integer >= {least}" + (", or None" if optional else ""))

    def _require(self, good: bool, name: str, rule: str) -> None:
        if not good:
            raise ValueError(f"TrainingConfig({name}={self.__dict__[name]!r}): expected {rule}")
