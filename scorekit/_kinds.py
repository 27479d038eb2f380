"""Arguments of the wrong kind: a network for a model, a proposal for a kernel, a class for an object of it."""

from textwrap import shorten


def require_kind(owner: str, kind: type, hint: str = "", **given: object) -> None:
    """Refuse what is no `kind`.

    Args:
        owner: whose arguments they are: what the message starts with.
        kind: the abstract class.
        hint: examples, or how to come by an object of the kind.
        given: the arguments by their names.

    Raises:
        TypeError: for the first one that is no object of `kind`.
    """
    for name, value in given.items():
        if not isinstance(value, kind):
            shown = shorten(repr(value), 80, placeholder=" ...")
            found = f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__
            raise TypeError(f"{owner}({name}={shown}): expected {kind.__name__}{hint and f' ({hint})'}, got {found}")
