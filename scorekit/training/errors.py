"""The error of a training run that cannot go on."""

from typing import final


@final
class NonFiniteLossError(FloatingPointError):
    """A loss or a gradient is NaN or infinite. The bad update was not applied: weights are those of the step before."""
