"""What samples and chains are judged by.

- Two samples: `MaximumMeanDiscrepancy`, `SlicedWasserstein`, `ModeWeightError`, `FrechetDistance`, each a `Metric`.
- Features and logits of images that stream by, in flat memory: `FeatureStatistics` with `frechet_distance` (on features
  of Inception the FID) and `frechet_bootstrap`, `KernelInceptionDistance`, `InceptionScore`.
- A sample and a score: `kernel_stein_discrepancy`, `stein_test`.
- A run of chains: `summary`, of `effective_sample_size`, `split_r_hat` and `acceptance_per_level`.
"""

from scorekit.metrics._samples import Significance
from scorekit.metrics.bootstrap import FrechetBootstrap, frechet_bootstrap
from scorekit.metrics.decisions import Decisions, acceptance_per_level
from scorekit.metrics.features import FeatureStatistics
from scorekit.metrics.frechet import FrechetDistance, frechet_distance
from scorekit.metrics.inception_score import InceptionScore, Score
from scorekit.metrics.kernel_inception import KernelDistance, KernelInceptionDistance, polynomial_mmd
from scorekit.metrics.mixing import at_level, effective_sample_size, split_r_hat
from scorekit.metrics.mmd import MaximumMeanDiscrepancy
from scorekit.metrics.modes import ModeWeightError
from scorekit.metrics.stein import kernel_stein_discrepancy, stein_test
from scorekit.metrics.summaries import LevelMixing, Summary, summary
from scorekit.metrics.wasserstein import SlicedWasserstein

__all__ = [
    "Decisions", "FeatureStatistics", "FrechetBootstrap", "FrechetDistance", "InceptionScore", "KernelDistance",
    "KernelInceptionDistance", "LevelMixing", "MaximumMeanDiscrepancy", "ModeWeightError", "Score", "Significance",
    "SlicedWasserstein", "Summary", "acceptance_per_level", "at_level", "effective_sample_size", "frechet_bootstrap",
    "frechet_distance", "kernel_stein_discrepancy", "polynomial_mmd", "split_r_hat", "stein_test", "summary",
]  # fmt: skip
