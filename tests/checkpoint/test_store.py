"""What a store keeps, replaces and sweeps."""

import os
import signal
import stat

import pytest
import torch

from scorekit.checkpoint import CheckpointError, CheckpointStore, tensors
from tests.checkpoint.stores import contents, killed_at_byte, names


def test_what_was_written_is_read(store):
    assert store.read()[1:] == (20, contents(20))
    assert store.read(step=10)[1:] == (10, contents(10))
    assert store.read(wanted={"config.json"}).files == {"config.json": contents(20)["config.json"]}
    with pytest.raises(CheckpointError, match="expected a checkpoint of step 15; found steps 20, 10"):
        store.read(step=15)


def test_the_last_two_are_kept_and_the_multiples_asked_for(tmp_path):
    store = CheckpointStore(tmp_path)
    for step in range(5, 60, 5):
        store.write(step, contents(step), keep_last=2, keep_every=20)
    assert [entry.step for entry in store.entries()] == [55, 50, 40, 20]
    assert names(store) == {"latest.json", "step-55", "step-50", "step-40", "step-20"}
    for step in (55, 50, 40, 20):
        assert store.read(step=step).files == contents(step)


def test_a_step_written_again_replaces_its_course(store):
    store.write(30, contents(30))
    store.write(20, contents(99))  # a run that went back to 10 and came to 20 again
    assert [entry.step for entry in store.entries()] == [20]
    assert store.read().files == contents(99)
    store.write(20, contents(98))
    assert store.read().files == contents(98)
    assert len(names(store)) == 2


def test_an_orphan_of_a_kill_between_the_two_renames_gives_way(store):
    (store.folder / "step-30").mkdir()
    (store.folder / "step-30" / "model.safetensors").write_bytes(b"?")
    store.write(30, contents(30))
    assert store.read().files == contents(30)


def test_leftovers_of_interrupted_writes_are_swept(store):
    (store.folder / "tmp-step-30").mkdir()
    (store.folder / "tmp-step-30" / "model.safetensors").write_bytes(b"half")
    (store.folder / "tmp-latest.json").write_bytes(b"{")
    store.write(30, contents(30))
    assert names(store) == {"latest.json", "step-30", "step-20"}


def test_a_kill_before_the_first_checkpoint_is_complete_leaves_an_empty_store(tmp_path):
    store = CheckpointStore(tmp_path)
    for limit in (1, 200, 2_000):
        assert killed_at_byte(lambda: store.write(10, contents(10)), limit) == signal.SIGXFSZ
        assert store.entries() == ()
    (tmp_path / "step-10").mkdir()  # as after a kill between the two renames
    assert store.entries() == ()
    store.write(10, contents(10))
    assert store.read()[1:] == (10, contents(10))
    assert names(store) == {"latest.json", "step-10"}


def test_files_have_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        path = CheckpointStore(tmp_path / "a").write(1, {"model.safetensors": tensors.encode({"x": torch.ones(2)})})
    finally:
        os.umask(before)
    assert stat.S_IMODE((path / "model.safetensors").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "a" / "latest.json").stat().st_mode) == 0o644
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
