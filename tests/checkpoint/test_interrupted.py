"""Whatever interrupts a write, a good checkpoint is left."""

import os
import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from scorekit.checkpoint import CheckpointError, CheckpointStore, manifest
from scorekit.checkpoint.files import write_file
from tests.checkpoint.stores import contents, dies_at_call, killed_at_byte, names


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to tell descriptors' names")
def test_everything_is_on_the_disk_before_it_is_named(store, monkeypatch):
    calls = []

    def recorded(name, call, describe):
        monkeypatch.setattr(os, name, lambda *args: (calls.append((name, describe(*args))), call(*args))[1])

    recorded("fsync", os.fsync, lambda descriptor: Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
    recorded("rename", os.rename, lambda old, new: (Path(old).name, Path(new).name))
    recorded("replace", os.replace, lambda old, new: (Path(old).name, Path(new).name))
    store.write(30, contents(30))
    assert calls == [
        ("fsync", "model.safetensors"),
        ("fsync", "config.json"),
        ("fsync", "tmp-step-30"),
        ("rename", ("tmp-step-30", "step-30")),
        ("fsync", "checkpoint"),
        ("fsync", "tmp-latest.json"),
        ("replace", ("tmp-latest.json", "latest.json")),
        ("fsync", "checkpoint"),
        ("rename", ("step-10", "tmp-step-10")),  # the old one goes last
    ]


@pytest.mark.parametrize("call", ["rename", "replace", "fsync"])
@pytest.mark.parametrize("occasion", range(1, 6))
def test_a_stop_at_any_call_leaves_a_good_checkpoint(store, monkeypatch, call, occasion):
    real, count = getattr(os, call), 0

    def stopping(*args):
        nonlocal count
        count += 1
        if count == occasion:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, stopping)
        try:
            store.write(30, contents(30))
        except KeyboardInterrupt:
            pass
        else:
            assert count < occasion  # it has fewer such calls
    assert store.read().step in (20, 30)
    assert store.read().files == contents(store.read().step)
    store.write(40, contents(40))
    assert store.read().files == contents(40)
    assert not [name for name in names(store) if name.startswith("tmp-")]


CALLS = [("fsync", occasion) for occasion in range(1, 7)] + [("rename", 1), ("replace", 1)]  # all that a write makes


def lost_at_a_call(folder: Path) -> list[tuple[str, int]]:
    """The calls at which the death of the process that writes leaves no good checkpoint, or a store that cannot be
    written to again."""
    lost = []
    for call, occasion in CALLS:
        store = CheckpointStore(folder / f"{call}-{occasion}")
        store.write(20, contents(20))
        assert dies_at_call(partial(store.write, 30, contents(30)), call, occasion)
        try:
            found = store.read()
            assert found.step in (20, 30)
            assert found.files == contents(found.step)
            store.write(30, contents(30))
            assert store.read()[1:] == (30, contents(30))
            assert not [name for name in names(store) if name.startswith("tmp-")]
        except CheckpointError:
            lost.append((call, occasion))
    return lost


def test_a_death_at_any_call_leaves_a_good_checkpoint(tmp_path, monkeypatch):
    """The mutant removes the record before it gives the new one its name: for a moment there is none."""
    assert lost_at_a_call(tmp_path / "right") == []
    replace = CheckpointStore._replace

    def with_a_gap(self: CheckpointStore) -> None:
        (self.folder / manifest.NAME).unlink(missing_ok=True)
        replace(self)

    monkeypatch.setattr(CheckpointStore, "_replace", with_a_gap)
    assert lost_at_a_call(tmp_path / "gap") == [("replace", 1)]


def overwrite_in_place(store: CheckpointStore, step: int, files: dict[str, bytes]) -> None:
    """The mutant: what saving over the old files does."""
    old = store.entries()[0]
    records = {}
    for name, content in files.items():
        (store.folder / old.folder / name).unlink()
        records[name] = write_file(store.folder / old.folder / name, content)
    entries = (manifest.Entry(old.folder, step, records), *store.entries()[1:])
    (store.folder / manifest.NAME).write_bytes(manifest.encode(entries))


def test_a_kill_at_any_byte_loses_nothing_and_in_place_everything(store):
    rng, lost = random.Random(5), 0
    for _ in range(40):
        limit = rng.randrange(1, 3_000)
        assert killed_at_byte(lambda: store.write(30, contents(30)), limit) == signal.SIGXFSZ
        assert store.read()[1:] == (20, contents(20))
    for number in range(40):
        mutant = CheckpointStore(store.folder.parent / f"mutant-{number}")
        mutant.write(20, contents(20))
        assert killed_at_byte(lambda m=mutant: overwrite_in_place(m, 30, contents(30)), rng.randrange(1, 3_000))
        try:
            mutant.read()
        except CheckpointError:
            lost += 1
    assert lost == 40
    assert killed_at_byte(lambda: store.write(30, contents(30)), 10**6) == 0
    assert store.read()[1:] == (30, contents(30))
    assert names(store) == {"latest.json", "step-30", "step-20"}


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond 2 MB. Python ignores SIGXFSZ: the write fails instead."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_full_disk_raises_and_leaves_the_old_checkpoint_and_no_rubbish(store):
    before = names(store)
    with full_disk(), pytest.raises(OSError, match="File too large"):
        store.write(30, contents(30, size=3_000_000))
    assert names(store) == before
    assert store.read()[1:] == (20, contents(20))
    mutant = CheckpointStore(store.folder.parent / "mutant")
    mutant.write(20, contents(20))
    with full_disk(), pytest.raises(OSError, match="File too large"):
        overwrite_in_place(mutant, 30, contents(30, size=3_000_000))
    with pytest.raises(CheckpointError):
        mutant.read()
