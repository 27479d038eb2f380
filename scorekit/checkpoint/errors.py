"""The errors and warnings of checkpoints."""

from typing import final


@final
class CheckpointError(ValueError):
    """A checkpoint that cannot be used: missing, damaged, foreign, of a newer scorekit, of another model or run."""


@final
class DamagedCheckpointWarning(UserWarning):
    """The newest checkpoint is damaged, and an older one was used in its place."""
