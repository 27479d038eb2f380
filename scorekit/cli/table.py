"""Plain tables."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], *, indent: int = 0) -> str:
    """Rows as lines, with columns two spaces apart and nothing after the last word."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(" " * indent + line.rstrip() for line in lines)
