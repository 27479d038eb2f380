"""What samplers draw from: densities that know their score at every noise level, networks among them."""

from scorekit.base.families.family import TargetFamily, WrappedFamily
from scorekit.base.families.model import Given, ScoreModel, condition_for, evaluation_mode
from scorekit.base.families.rows import of_each_chain, rows_of

__all__ = [
    "Given", "ScoreModel", "TargetFamily", "WrappedFamily", "condition_for", "evaluation_mode", "of_each_chain",
    "rows_of",
]  # fmt: skip
