"""The statistics of the conformance kit, under the name that the tests know them by."""

from scorekit.testing.statistics import (
    ALPHA,
    BOUND,
    counts_pvalue,
    hotelling,
    ks_pvalue,
    legendre,
    normal_pvalue,
    uniform_pvalue,
    variance_z_score,
    z_score,
)

__all__ = [
    "ALPHA", "BOUND", "counts_pvalue", "hotelling", "ks_pvalue", "legendre", "normal_pvalue", "uniform_pvalue",
    "variance_z_score", "z_score",
]  # fmt: skip
