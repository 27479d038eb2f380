"""A recipe: a run from data to samples, described; and the same made definite for its data (`Experiment`)."""

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from scorekit.base import Estimator, NoiseSchedule, Sampler, ScoreModel
from scorekit.objective import Objective, Weight
from scorekit.training_config import TrainingConfig

if TYPE_CHECKING:
    from scorekit.data import Source


@dataclass(frozen=True)
class Recipe(ABC):
    """A run from data to samples: what `scorekit train NAME` does. A plugin's recipe derives from this.

    What depends on the data (the image's shape, NCSNv2's noise levels) is settled by `experiment`.

    Args:
        training: the numbers of the training.
        data: what `--data` is unless given; None if it has to be given.
        num_samples: how many samples are drawn after training.
    """

    training: TrainingConfig
    _: KW_ONLY
    data: str | None = None
    num_samples: int = 64

    def __post_init__(self):
        if not isinstance(self.num_samples, int) or self.num_samples < 1:
            raise ValueError(f"{type(self).__name__}(num_samples={self.num_samples!r}): expected at least one")

    @abstractmethod
    def open(self, spec: str | Path) -> "tuple[Source, Source]":
        """What is trained on, and what the held-out loss is measured on.

        Args:
            spec: a name or a path.

        Raises:
            ValueError: if the data cannot be read, or the recipe is not for them.
        """

    @abstractmethod
    def experiment(self, source: "Source") -> "Experiment":
        """The run for these data. The network's initial weights are drawn from torch's global generator."""


@final
@dataclass(frozen=True, eq=False)
class Experiment:
    """A run made definite: every part is there.

    Args:
        model: the score model, untrained.
        estimator: how it learns.
        noise: the levels in training.
        sampler: what draws the samples.
        weight: of the levels; see `Objective`.
    """

    model: ScoreModel
    estimator: Estimator
    noise: NoiseSchedule
    sampler: Sampler
    weight: Weight = None

    def objective(self) -> Objective:
        """What is trained."""
        return Objective(self.model, self.estimator, self.noise, self.weight)
