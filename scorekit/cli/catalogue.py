"""The registered components as text. A name that two plugins give is shown for both, and hides no other."""

import inspect
from collections import Counter
from collections.abc import Callable
from functools import partial

from scorekit.cli.errors import usage
from scorekit.cli.table import aligned
from scorekit.component import read_parameters
from scorekit.hookspecs import KINDS
from scorekit.registry import plugins, registry

CONTESTED = "contested: no plugin has it"


def every_kind() -> str:
    """Each kind with the names in it."""
    found = {kind: _names(kind) for kind in KINDS}
    return "\n".join(f"{kind}\n{aligned(rows, indent=2)}" for kind, rows in found.items() if rows)


def one_kind(kind: str) -> str:
    """What each component of a kind is, and what it takes.

    Raises:
        UsageError: if there is no such kind.
    """
    with usage():
        components = registry(kind)
    rows: list[tuple[str, str, str]] = []
    for name, plugin, remark in _names(kind):
        if remark:
            rows.append((name, plugin, remark))
            continue
        takes = ", ".join(read_parameters(components[name])) or "no parameters"
        rows += [(name, plugin, summary(components[name])), ("", "", f"  {takes}")]
    return aligned(rows)


def summary(factory: Callable[..., object]) -> str:
    """The first paragraph of its docstring."""
    if isinstance(factory, partial) and factory.__doc__ == partial.__doc__:
        factory = factory.func
    return " ".join((inspect.getdoc(factory) or "").split("\n\n")[0].split())


def _names(kind: str) -> list[tuple[str, str, str]]:
    """Name, plugin, remark."""
    found = [(name, record.name) for record in plugins() for name in record.components.get(kind, ())]
    times = Counter(name for name, _ in found)
    return [(name, plugin, CONTESTED if times[name] > 1 else "") for name, plugin in found]
