"""`scorekit convert`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def convert(
    what: Path,
    /,
    *,
    out: Path,
    to_authors: Annotated[bool, Parameter(negative="")] = False,
    image_size: str | None = None,
    noise: str | None = None,
    centered: bool = True,
) -> None:
    """The authors' checkpoints to scorekit's, and back.

    Checkpoints of the published code of NCSN and NCSNv2: network, width, channels and noise levels are read from the
    names and shapes of the weights. The way back gives every tensor bit for bit.

    Args:
        what: the authors' FILE.pth; with --to-authors the folder of a checkpoint that was converted.
        out: the folder to write; with --to-authors the FILE.pth.
        to_authors: back to the authors' form.
        image_size: of the pictures, which a checkpoint does not tell: one number, or HEIGHT,WIDTH; that of the authors'
            data if not given.
        noise: NCSN's levels, which a checkpoint does not tell: the name of a schedule, or JSON, {"name": ..., "params":
            {...}}; the paper's if not given.
        centered: whether the network maps x to 2 x - 1 first.
    """
    from scorekit.cli.conversion import from_authors, to_authors_file

    if to_authors:
        print(to_authors_file(what, out))
    else:
        print(from_authors(what, out, image_size, noise, centered))
