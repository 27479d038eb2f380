"""`scorekit info`."""

from pathlib import Path


def info(checkpoint: Path, /) -> None:
    """What a checkpoint holds. Every file of it is verified.

    Args:
        checkpoint: the folder of a run, of its checkpoints, or of one of them.
    """
    from scorekit.cli.description import describe
    from scorekit.cli.table import aligned

    print(aligned(describe(checkpoint)))
