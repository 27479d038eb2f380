"""Damage is found, named, and the older checkpoint used."""

import io
import json
import os
import pickle
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from scorekit.checkpoint import CheckpointError, CheckpointStore, DamagedCheckpointWarning, manifest, tensors
from tests.checkpoint.stores import contents, flip


def test_every_truncation_is_found_and_the_older_checkpoint_used_with_a_warning(store):
    path, rng = store.folder / "step-20" / "model.safetensors", random.Random(1)
    whole = path.read_bytes()
    for _ in range(100):
        path.write_bytes(whole[: rng.randrange(len(whole))])
        with pytest.raises(CheckpointError, match=r"model.safetensors: expected 3000 bytes; found"):
            store.read(step=20)
    with pytest.warns(
        DamagedCheckpointWarning, match=r"step-20.model.safetensors: expected 3000 bytes.*step-10 instead"
    ):
        assert store.read()[1:] == (10, contents(10))


def test_every_flipped_bit_is_found(tmp_path):
    torch.manual_seed(0)
    state = nn.Linear(5, 7).state_dict()
    store, rng = CheckpointStore(tmp_path), random.Random(2)
    files = {"model.safetensors": tensors.encode(state), "config.json": b'{"format": "scorekit-checkpoint"}'}
    store.write(20, files)
    paths = [store.folder / "step-20" / name for name in files] + [store.folder / "latest.json"]
    silent = 0
    for _ in range(300):
        path = rng.choice(paths)
        bit = rng.randrange(8 * path.stat().st_size)
        flip(path, bit)
        with pytest.raises(CheckpointError, match=str(tmp_path)):
            store.read()
        if path.name == "model.safetensors":
            try:
                tensors.decode(path, path.read_bytes())
                silent += 1  # the mutant without a checksum loads it
            except CheckpointError:
                pass
        flip(path, bit)
    assert store.read().files == files
    assert silent > 50


def test_two_damaged_checkpoints_are_both_named(store):
    for number in (10, 20):
        flip(store.folder / f"step-{number}" / "model.safetensors", 77)
    with pytest.raises(CheckpointError, match=r"step-20.*SHA-256.*step-10.*SHA-256"):
        store.read()


def test_a_missing_file_and_a_missing_folder_are_named(store):
    (store.folder / "step-20" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"step-20.config.json.*cannot be read"):
        store.read(step=20)
    with pytest.raises(CheckpointError, match=r"expected a checkpoint .*; found none"):
        CheckpointStore(store.folder / "nowhere").read()
    (store.folder / "latest.json").unlink()
    with pytest.raises(CheckpointError, match=r"expected latest.json; found step-10, step-20 without it"):
        store.entries()


@given(st.integers(0, 10**6))
def test_no_strict_prefix_of_a_file_loads(tmp_path_factory, cut):
    content = tensors.encode({"x": torch.arange(12.0).view(3, 4), "y": torch.ones(2)})
    with pytest.raises(CheckpointError):
        tensors.decode(Path("x.safetensors"), content[: cut % len(content)])
    folder = tmp_path_factory.mktemp("latest")
    CheckpointStore(folder).write(0, {"model.safetensors": content})
    latest = (folder / "latest.json").read_bytes()
    (folder / "latest.json").write_bytes(latest[: cut % (len(latest) - 1)])  # the last byte is a line end
    with pytest.raises(CheckpointError):
        CheckpointStore(folder).read()


class Shell:
    """A pickle that runs a command where it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def declared(**fields: object) -> bytes:
    """A safetensors file of 8 bytes of data with one tensor, declared as told."""
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | fields
    header = json.dumps({"x": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


def deflated() -> bytes:
    """67 MB in 65 kB, in the format of `torch.save`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data/0", bytes(67_000_000))
    return buffer.getvalue()


HOSTILE = {
    "pickle": lambda mark: pickle.dumps(Shell(mark)),
    "deflated": lambda mark: deflated(),
    "a header of 2^60 bytes": lambda mark: (2**60).to_bytes(8, "little") + declared()[8:],
    "a terabyte declared": lambda mark: declared(shape=[2**38], data_offsets=[0, 2**40]),
    "a shape that overflows": lambda mark: declared(shape=[2**40, 2**40]),
    "a shape without its data": lambda mark: declared(shape=[2**38]),
    "offsets backwards": lambda mark: declared(data_offsets=[8, 0]),
    "an unknown type": lambda mark: declared(dtype="OBJECT"),
    "a header of lists": lambda mark: (100_000).to_bytes(8, "little") + b"[" * 100_000,
}


def peak_memory(work: Callable[[], object]) -> int:
    """The most bytes that Python held for it."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_with_the_right_checksum_is_refused_before_anything_is_made_of_it(name, tmp_path):
    """Its twin, which declares what it holds, loads."""
    assert tensors.decode(Path("x"), declared())["x"].tolist() == [0.0, 0.0]
    store, mark = CheckpointStore(tmp_path / "store"), tmp_path / "mark"
    store.write(1, {"model.safetensors": HOSTILE[name](mark), "config.json": b"{}"})

    def load() -> None:
        with pytest.raises(CheckpointError, match="expected a safetensors file"):
            tensors.decode(Path("model.safetensors"), store.read().files["model.safetensors"])

    assert peak_memory(load) < 10_000_000
    assert not mark.exists()


def test_readers_that_unpickle_or_inflate_would_be_seen(tmp_path):
    pickle.loads(pickle.dumps(Shell(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()
    file = zipfile.ZipFile(io.BytesIO(deflated()))
    assert peak_memory(lambda: file.read("archive/data/0")) > 10_000_000


def document(store: CheckpointStore) -> dict:
    return json.loads((store.folder / "latest.json").read_text())


def sign(store: CheckpointStore, changed: dict) -> None:
    changed.pop("sha256", None)
    (store.folder / "latest.json").write_text(json.dumps(changed | {"sha256": manifest._digest(changed)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "format version 2, from a newer scorekit; this one reads version 1"),
        ({"version": "1"}, "expected format version 1; found '1'"),
        ({"format": "other"}, "expected the format 'scorekit-checkpoint'; found 'other'"),
        ({"checkpoints": 3}, "expected a list of checkpoints"),
        ({"checkpoints": [{"folder": "../elsewhere", "step": 1, "files": {}}]}, "elsewhere"),
        ({"checkpoints": [{"folder": "step-1", "step": -1, "files": {}}]}, "step -1"),
        ({"checkpoints": [{"folder": "step-1", "step": 1, "files": {"../x.json": {}}}]}, "expected a list"),
        (
            {"checkpoints": [{"folder": "step-1", "step": 1, "files": {"/x": {"size": 1, "sha256": "0" * 64}}}]},
            "file '/x'",
        ),
    ],
)
def test_foreign_and_newer_formats_are_refused(store, change, message):
    sign(store, document(store) | change)
    with pytest.raises(CheckpointError, match=message):
        store.read()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"format": 1}'])
def test_what_is_no_record_at_all_is_refused(store, content):
    (store.folder / "latest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"latest.json: expected"):
        store.read()
