"""Choices made from the data, or in a short run, and fixed before sampling begins."""

from scorekit.tuning.adaptation import tune, tune_and_sample
from scorekit.tuning.ncsnv2 import (
    OVERLAP,
    NCSNv2Settings,
    epsilon_for,
    largest_distance,
    ncsnv2_settings,
    num_levels_for_overlap,
    overlap_of,
    ratio_for_overlap,
    variance_ratio,
)

__all__ = [
    "OVERLAP", "NCSNv2Settings", "epsilon_for", "largest_distance", "ncsnv2_settings", "num_levels_for_overlap",
    "overlap_of", "ratio_for_overlap", "tune", "tune_and_sample", "variance_ratio",
]  # fmt: skip
