"""The axes of a figure, where none are given; matplotlib is imported here, when the first figure is made."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes_of(ax: "Axes | None") -> "Axes":
    """The axes given, or those of a new figure."""
    if ax is not None:
        return ax
    return figure(1, (5.0, 4.0))[0]


def figure(columns: int, size: tuple[float, float]) -> "list[Axes]":
    """New axes side by side.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'scorekit[plots]'") from error
    _, axes = pyplot.subplots(1, columns, figsize=size, layout="compressed", squeeze=False)
    return list(axes[0])
