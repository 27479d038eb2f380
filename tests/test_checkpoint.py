import json
import os
import random
import resource
import signal
import stat
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import scorekit as sk
from scorekit.checkpoint import CheckpointError, CheckpointStore, DamagedCheckpointWarning, manifest, tensors
from scorekit.checkpoint.files import write_file


def contents(number: int, size: int = 3_000) -> dict[str, bytes]:
    return {"model.safetensors": bytes([number]) * size, "config.json": b'{"number": %d}' % number}


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    """Two checkpoints, of steps 10 and 20."""
    made = CheckpointStore(tmp_path / "run" / "checkpoint")
    for number in (10, 20):
        made.write(number, contents(number))
    return made


def names(store: CheckpointStore) -> set[str]:
    return {path.name for path in store.folder.iterdir()}


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))


# ------------------------------------------------------------------------------------------------------------------
# what is kept


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


# ------------------------------------------------------------------------------------------------------------------
# interrupted writes


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


def overwrite_in_place(store: CheckpointStore, step: int, files: dict[str, bytes]) -> None:
    """The mutant: what saving over the old files does."""
    old = store.entries()[0]
    records = {}
    for name, content in files.items():
        (store.folder / old.folder / name).unlink()
        records[name] = write_file(store.folder / old.folder / name, content)
    entries = (manifest.Entry(old.folder, step, records), *store.entries()[1:])
    (store.folder / manifest.NAME).write_bytes(manifest.encode(entries))


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


def test_a_full_disk_raises_and_leaves_the_old_checkpoint_and_no_rubbish(store):
    before = names(store)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limit[1]))  # Python ignores SIGXFSZ: the write fails instead
    try:
        with pytest.raises(OSError, match="File too large"):
            store.write(30, contents(30, size=3_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert names(store) == before
    assert store.read()[1:] == (20, contents(20))


# ------------------------------------------------------------------------------------------------------------------
# damage


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


# ------------------------------------------------------------------------------------------------------------------
# tensors and models


def test_views_shared_and_strange_tensors_come_back():
    base = torch.arange(24.0).view(4, 6)
    state = {"whole": base, "again": base, "view": base[1:, ::2], "transposed": base.T}
    state |= {"empty": torch.empty(0, 3), "number": torch.tensor(3.5), "bool": base > 3, "int": base.long()}
    state |= {"half": base.half(), "brain": base.bfloat16(), "double": base.double()}
    back = tensors.decode(Path("x"), tensors.encode(state))
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    with pytest.raises(TypeError, match=r"state 'extra': .*got dict"):
        tensors.encode({"extra": {"a": 1}})


def model(width: int = 8) -> sk.DirectScore:
    return sk.DirectScore(sk.networks.MLP(event_shape=(2,), width=width))


X, SIGMA = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.full((5,), 0.3)


def same(one, two) -> bool:
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first
    )


def test_a_model_comes_back_with_its_configuration_its_moments_and_its_types(tmp_path):
    for number, change in enumerate((lambda m: m, lambda m: m.double(), lambda m: m.bfloat16())):
        saved = change(model())
        if number < 2:
            saved.set_moments(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.1]))
        path = sk.save(tmp_path / str(number), saved)
        assert path.name == "step-0"
        torch.manual_seed(1)
        before = torch.get_rng_state()
        loaded = sk.load(tmp_path / str(number))
        assert torch.equal(torch.get_rng_state(), before)
        assert same(loaded, saved)
        x = X.to(saved.dtype)
        assert torch.equal(loaded(x, SIGMA.to(x.dtype)), saved(x, SIGMA.to(x.dtype)))
        assert sk.to_config(loaded) == sk.to_config(saved)
        assert same(sk.load(path), saved)


def test_saving_again_keeps_the_model_before_in_case(tmp_path):
    first, second = model(), model()
    sk.save(tmp_path, first)
    path = sk.save(tmp_path, second)
    assert same(sk.load(tmp_path), second)
    assert same(sk.load(tmp_path, step=0), first)
    flip(path / "model.safetensors", 777)
    with pytest.warns(DamagedCheckpointWarning, match=r"step-1.*step-0 instead"):
        assert same(sk.load(tmp_path), first)


def test_tied_weights_stay_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.b.weight = self.a.weight

        def forward(self, x, sigma):
            return self.b(self.a(x))

    saved, fresh = sk.DirectScore(Tied()), sk.DirectScore(Tied())
    path = CheckpointStore(tmp_path).write(0, {"model.safetensors": tensors.encode(saved.state_dict())})
    loaded = sk.load(path, into=fresh)
    assert torch.equal(loaded(X, SIGMA), saved(X, SIGMA))
    assert loaded.net.a.weight is loaded.net.b.weight


def test_a_model_that_no_configuration_describes_is_refused_and_can_be_filled(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x, sigma):
            return self.layer(x)

    with pytest.raises(TypeError, match=r"model.net = Own"):
        sk.save(tmp_path, sk.DirectScore(Own()))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_loaded_says_why(tmp_path):
    sk.save(tmp_path, model())
    with pytest.raises(CheckpointError, match=r"expected ema.safetensors for weights='ema'; the checkpoint has none"):
        sk.load(tmp_path, weights="ema")
    with pytest.raises(ValueError, match="weights='best'"):
        sk.load(tmp_path, weights="best")
    with pytest.raises(CheckpointError, match=r"expected the weights of this DirectScore; [\s\S]*size mismatch"):
        sk.load(tmp_path, into=model(width=9))
    with pytest.raises(CheckpointError, match="found none"):
        sk.load(tmp_path / "nowhere" / "at all")
    config = json.loads((tmp_path / "step-0" / "config.json").read_text())
    store, files = CheckpointStore(tmp_path / "other"), CheckpointStore(tmp_path).read().files
    other = {"version": 9}, {"model": None, "reason": "because"}, {"model": sk.to_config(sk.Geometric())}
    for number, (change, message) in enumerate(zip(other, ("newer", "because", "Geometric"), strict=True)):
        store.write(number, files | {"config.json": json.dumps(config | change).encode()})
        with pytest.raises(CheckpointError, match=message):
            sk.load(store.folder)


def test_a_model_is_not_saved_over_a_training_run(tmp_path):
    CheckpointStore(tmp_path).write(5, {"training.json": b"{}"})
    with pytest.raises(CheckpointError, match="holds the checkpoints of a training run"):
        sk.save(tmp_path, model())


def test_nothing_in_a_checkpoint_is_pickled(tmp_path):
    path = sk.save(tmp_path, model())
    for file in path.iterdir():
        assert file.suffix in (".json", ".safetensors")
        assert not file.read_bytes().startswith((b"\x80", b"PK"))
