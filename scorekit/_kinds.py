"""Arguments of the wrong kind: a network for a model, a proposal for a kernel, a class for an object of it."""


def brief(value: object) -> str:
    """A repr of one line, cut where it is long."""
    shown = " ".join(repr(value).split())
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


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
            found = f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__
            expected = f"{kind.__name__} ({hint})" if hint else kind.__name__
            raise TypeError(f"{owner}({name}={brief(value)}): expected {expected}, got {found}")
