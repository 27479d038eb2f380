"""Numbers in columns, as text: what reports print."""

from collections.abc import Sequence


def table(heads: Sequence[str], rows: Sequence[Sequence[float | int | bool]]) -> str:
    """Right-aligned columns under their heads; whole numbers as they are, others with four digits, NaN as "-"."""
    cells = [list(heads), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def _cell(value: float | int | bool) -> str:
    if value != value:  # NaN: nothing was measured
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
