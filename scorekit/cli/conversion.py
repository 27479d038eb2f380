"""What `scorekit convert` does with its arguments."""

from pathlib import Path

from scorekit.base import NoiseSchedule
from scorekit.cli.checkpoints import find_checkpoint
from scorekit.cli.description import describe
from scorekit.cli.errors import UsageError, require_writable, usage
from scorekit.cli.parameters import to_value
from scorekit.cli.table import aligned
from scorekit.interop import convert, export
from scorekit.registry import make


def from_authors(file: Path, out: Path, image_size: str | None, noise: str | None, centered: bool) -> str:
    """Convert a file to a folder; what is there now.

    Raises:
        UsageError: for a size or a schedule that is none.
        ValueError: if there is no such file, or it is none of the authors'.
    """
    size = None if image_size is None else to_size(image_size)
    levels = None if noise is None else to_noise(noise)
    if not file.is_file():
        hint = "; a folder goes back with --to-authors" if file.is_dir() else ""
        raise ValueError(f"{file}: expected a checkpoint file of the authors'{hint}")
    convert(file, out, noise=levels, image_size=size, centered=centered)
    return aligned(describe(out))


def to_authors_file(folder: Path, out: Path) -> str:
    """Convert a folder back to a file; what was written.

    Raises:
        ValueError: if the folder is no checkpoint that was converted.
        OSError: if the file is there already, or cannot be written.
    """
    home = find_checkpoint(folder)
    require_writable(out)
    export(home, out)
    return f"{out}: {out.stat().st_size:,} bytes, in the authors' form"


def to_noise(text: str) -> NoiseSchedule:
    """A schedule by its name, or by JSON with "name" and "params".

    Raises:
        UsageError: if it is none.
    """
    value = to_value(text)
    with usage("--noise"):
        if isinstance(value, str):
            return make("noise_schedules", value)
        if isinstance(value, dict) and value.keys() <= {"kind", "name", "params"} and "name" in value:
            return make("noise_schedules", value["name"], **value.get("params", {}))
    raise UsageError(f'--noise {text}: expected the name of a schedule, or {{"name": ..., "params": {{...}}}}')


def to_size(text: str) -> int | tuple[int, int]:
    """ "32", or "64,48" for height and width.

    Raises:
        UsageError: for anything else.
    """
    parts = text.split(",")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--image-size {text}: expected one number, or HEIGHT,WIDTH")
    sizes = [int(part) for part in parts]
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])
