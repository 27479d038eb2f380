"""What a store is filled with in tests; damage to it, and a process that is killed while it writes."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

from scorekit.checkpoint import CheckpointStore


def contents(number: int, size: int = 3_000) -> dict[str, bytes]:
    return {"model.safetensors": bytes([number]) * size, "config.json": b'{"number": %d}' % number}


def names(store: CheckpointStore) -> set[str]:
    return {path.name for path in store.folder.iterdir()}


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))


def dies_at_call(save: Callable[[], object], name: str, occasion: int) -> bool:
    """Whether a child ended at its n-th call of `os.name`, where it leaves without a farewell: no handler runs."""
    child = os.fork()
    if child == 0:
        real, count = getattr(os, name), 0

        def leaving(*arguments: object) -> object:
            nonlocal count
            count += 1
            return os._exit(9) if count == occasion else real(*arguments)

        setattr(os, name, leaving)
        try:
            save()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, 9):
        raise RuntimeError(f"a child that saves ended with {status}")
    return status == 9


def killed_at_byte(save, limit: int) -> int:
    """The signal that ended a child which may write `limit` bytes to a file; 0 if it came through."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        save()
        os._exit(0)
    return os.waitpid(child, 0)[1] & 0x7F
