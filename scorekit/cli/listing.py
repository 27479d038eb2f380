"""`scorekit list`."""


def list_components(kind: str | None = None, /) -> None:
    """Every registered component, with the plugin that it came from.

    Args:
        kind: samplers, recipes, ...: that kind alone, with what each component is and the parameters that it takes.
    """
    from scorekit.cli.catalogue import every_kind, one_kind

    print(every_kind() if kind is None else one_kind(kind))
