"""`scorekit plugins`."""


def list_plugins() -> None:
    """The installed plugins, and the broken ones with the reason.

    A broken plugin gives nothing and harms no other, so the exit code is 0 all the same.
    """
    import os

    from scorekit.cli.table import aligned
    from scorekit.plugin import DISABLE
    from scorekit.registry import PluginRecord, plugins

    def row(record: PluginRecord) -> tuple[str, str, str]:
        origin = f"{record.distribution or 'this process'} {record.version or ''}".strip()
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in record.components.items())
        if record.error is None:
            return record.name, origin, counts
        return record.name, origin, f"{counts or 'broken'}: {' '.join(record.error.split())}"

    print(aligned([row(record) for record in plugins()]))
    if os.environ.get(DISABLE):
        print(f"installed plugins are left out, because {DISABLE} is set")
