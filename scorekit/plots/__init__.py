"""Pictures of what can be drawn in a plane, and of runs, with matplotlib (scorekit[plots]).

Every function takes the axes to draw on (`ax`; None makes a figure) and returns them: what it has set on them, such as
limits, may be set anew, and `savefig` is the caller's. Colours are matplotlib's defaults and its perceptually uniform
maps.

- In the plane: `scatter`, `fields`.
- A run of chains: `chains`, `acceptance`.
- A run of training: `losses`.
"""

from scorekit.plots.plane import Extent, fields, scatter
from scorekit.plots.runs import acceptance, chains
from scorekit.plots.training import losses

__all__ = ["Extent", "acceptance", "chains", "fields", "losses", "scatter"]
