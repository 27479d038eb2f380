"""What samples and chains are judged by.

- Two samples: `MaximumMeanDiscrepancy`, `SlicedWasserstein`, `ModeWeightError`, each a `Metric`.
- A sample and a score: `kernel_stein_discrepancy`, `stein_test`.
- A run of chains: `summary`, of `effective_sample_size`, `split_r_hat` and `acceptance_per_level`.
"""

from scorekit.metrics._samples import Significance
from scorekit.metrics.decisions import Decisions, acceptance_per_level
from scorekit.metrics.mixing import at_level, effective_sample_size, split_r_hat
from scorekit.metrics.mmd import MaximumMeanDiscrepancy
from scorekit.metrics.modes import ModeWeightError
from scorekit.metrics.stein import kernel_stein_discrepancy, stein_test
from scorekit.metrics.summaries import LevelMixing, Summary, summary
from scorekit.metrics.wasserstein import SlicedWasserstein

__all__ = [
    "Decisions", "LevelMixing", "MaximumMeanDiscrepancy", "ModeWeightError", "Significance", "SlicedWasserstein",
    "Summary", "acceptance_per_level", "at_level", "effective_sample_size", "kernel_stein_discrepancy", "split_r_hat",
    "stein_test", "summary",
]  # fmt: skip
