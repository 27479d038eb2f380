"""To a checkpoint of scorekit and back: every bit, every name and their order."""

import json
import os
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch

import scorekit as sk
from scorekit.checkpoint import CheckpointError, CheckpointStore
from scorekit.interop import conversion, convert, export, read_ncsn, stored_sampler, tree, write_ncsn
from tests.checkpoint.stores import flip
from tests.interop.authors import KINDS, differences, ema_of, random, shapes_of, state_of, v2_list, write
from tests.interop.conftest import document_of


def loaded(path):
    return torch.load(path, weights_only=True)


def bare(document):
    return document[0]


def unprefixed(document):
    return [state_of({name.removeprefix("module."): t for name, t in document[0].items()}, ""), *document[1:]]


LAYOUTS = {
    **{kind: (kind, lambda document: document) for kind in KINDS},
    "bare": ("NCSN", bare),
    "bare, no prefix": ("NCSNv2", lambda document: unprefixed(document)[0]),
    "no prefix": ("NCSN baseline", unprefixed),
    "no EMA": ("NCSNv2", lambda document: document[:4]),
    "NCSN with an EMA": (
        "NCSN",
        lambda document: [*document, 1, 2, {n.removeprefix("module."): t for n, t in document[0].items()}],
    ),
    "half precision": ("NCSN", lambda document: [
        state_of({n: t.half() for n, t in document[0].items()}, ""), document[1]]),
    "strided": ("NCSN", lambda document: [_strided(document[0]), document[1]]),
    "odd numbers": ("NCSN", lambda document: [document[0], document[1] | _ODD]),
    "a plain dict": ("NCSNv2", lambda document: [dict(document[0]), *document[1:]]),
}  # fmt: skip
_ODD = {
    "a": [float("nan"), float("inf"), -float("inf"), -0.0, 1e-320, 0.1, 2**70],
    "b": (None, True, 1, "1", ("x",), [], {}, OrderedDict(), torch.tensor(3), torch.empty(0, 2), torch.ones(2).bool()),
    "c": {1: "one", "1": "another", -5: {"float": "nan"}, "tensor": ["model.safetensors", "net.begin_conv.weight"]},
}


def _strided(state):
    layouts = {4: torch.channels_last}
    return state_of(
        {n: t.contiguous(memory_format=layouts.get(t.ndim, torch.contiguous_format)) for n, t in state.items()}, ""
    )


def check_round_trip(folder, document, *, legacy=False):
    path = write(folder / "checkpoint.pth", document, legacy=legacy)
    convert(path, folder / "out")
    back = export(folder / "out", folder / "back.pth")
    assert list(differences(loaded(back), loaded(path))) == []
    assert list(differences(loaded(back), document)) == []


@pytest.mark.parametrize(
    ("name", "legacy"), [*((name, False) for name in LAYOUTS), ("NCSN", True), ("NCSNv2", True), ("bare", True)]
)
def test_every_bit_and_name_comes_back_in_order(name, legacy, tmp_path, generator):
    kind, change = LAYOUTS[name]
    check_round_trip(tmp_path, change(document_of(kind, generator, count=None if legacy else 6)), legacy=legacy)
    assert (tmp_path / "back.pth").read_bytes().startswith(b"PK") is not legacy
    again = read_ncsn(tmp_path / "back.pth")
    assert again.setting == read_ncsn(tmp_path / "checkpoint.pth").setting


ITEMS, KEEP = tree._items, conversion._document


def _sorted_items(value, keep, place):
    return sorted(ITEMS(value, keep, place), key=lambda item: str(item[0]))


def _without_attributes(value, keep, place):
    return [] if None in place else ITEMS(value, keep, place)


def _first_for_all(checkpoint, others):
    document = KEEP(checkpoint, others)
    return [document[0], *document[1:4], document[4] | {"dict": [[key, {"tensor": [conversion.RAW, f"net.{key}"]}]
            for key, _ in document[4]["dict"]]}]  # fmt: skip


LOSSES = {
    "key order lost": (tree, "_items", _sorted_items),
    "versions of the modules lost": (tree, "_items", _without_attributes),
    "raw weights for the EMA": (conversion, "_document", _first_for_all),
    "prefix lost": (conversion, "_document", lambda checkpoint, others: json.loads(
        json.dumps(KEEP(checkpoint, others)).replace('["module.', '["'))),
    "EMA and raw files swapped": (conversion, "RAW", "ema.safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_lost_on_the_way_is_seen(loss, tmp_path, generator, monkeypatch):
    monkeypatch.setattr(*LOSSES[loss])
    with pytest.raises((AssertionError, CheckpointError)):
        check_round_trip(tmp_path, document_of("NCSNv2", generator))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: [d[0], d[1], d[2], d[3], {**d[4], "normalizer.beta": d[4]["normalizer.beta"] * (1 + 2**-23)}],
        lambda d: [d[0], d[1], d[2], d[3], ema_of({n.removeprefix("module."): t for n, t in d[0].items()})],
        lambda d: [dict(d[0]), *d[1:]],
        lambda d: [OrderedDict(d[0]), *d[1:]],  # the versions
        lambda d: [OrderedDict(reversed(d[0].items())), *d[1:]],
        lambda d: [*d[:2], float(d[2]), *d[3:]],
        lambda d: [*d[:4], {n: t.double() for n, t in d[4].items()}],
        lambda d: [*d[:4], {n: t.unsqueeze(0) for n, t in d[4].items()}],
        lambda d: d[:4],
        tuple,
    ],
)
def test_the_comparison_sees_each_difference(change, generator):
    document = document_of("NCSNv2", generator)
    assert list(differences(document, document_of("NCSNv2", generator.manual_seed(generator.initial_seed())))) == []
    assert list(differences(document, change(document))) != []


def test_both_sets_of_weights_can_be_loaded(tmp_path, generator):
    shapes = shapes_of("NCSNv2", 3, 2)
    raw, ema = random(shapes, generator), random(shapes, generator)
    step = convert(write(tmp_path / "x.pth", v2_list(raw, ema, generator)), tmp_path / "out")
    assert step == tmp_path / "out" / "step-300000"
    for folder in (tmp_path / "out", step):
        for weights, tensors in (("raw", raw), ("ema", ema), (None, ema)):
            state = sk.load(folder, weights=weights).state_dict()
            assert state.keys() == {f"net.{name}" for name in ema_of(tensors)}
            assert all(torch.equal(state[f"net.{name}"], tensor) for name, tensor in ema_of(tensors).items())
    model = sk.load(tmp_path / "out")
    assert isinstance(model, sk.ScaledScore)
    assert model.dtype == torch.float32


def test_a_converted_checkpoint_is_what_read_ncsn_makes(file_of, tmp_path):
    noise = sk.Geometric(2.0, 0.02, 10)
    path = file_of("NCSN")
    convert(path, tmp_path / "out", noise=noise, image_size=(8, 12), centered=False)
    one, other = sk.load(tmp_path / "out"), read_ncsn(path, noise=noise, image_size=(8, 12), centered=False).model()
    assert sk.to_config(one) == sk.to_config(other)
    assert not one.net.centered
    x, sigma = torch.rand(2, 3, 8, 12), noise.levels().float()[[0, 9]]
    assert torch.equal(one(x, sigma), other(x, sigma))


def test_the_authors_sampler_is_stored(file_of, tmp_path):
    path = file_of("NCSN")
    step = convert(path, tmp_path / "out")
    expected = sk.annealed_langevin(
        sk.Geometric(1.0, 0.01, 10),
        step_size=sk.SigmaSquared(2e-5, sigma_min=0.01),
        steps_per_level=100,
        start=sk.Uniform(0, 1),
    )
    for folder in (tmp_path / "out", step):
        assert stored_sampler(folder) == expected
    assert stored_sampler(tmp_path / "out", step=200_000) == expected


def test_without_the_authors_sampler_there_is_none(tmp_path, generator):
    sk.save(tmp_path / "own", sk.DirectScore(sk.networks.MLP((2,))))
    assert stored_sampler(tmp_path / "own") is None
    state = random(shapes_of("NCSNv2", 3, 2, 10), generator) | {"sigmas": torch.linspace(5.0, 0.5, 10)}
    convert(write(tmp_path / "x.pth", state), tmp_path / "linear")
    assert stored_sampler(tmp_path / "linear") is None
    with pytest.raises(CheckpointError, match="expected a checkpoint; found none"):
        stored_sampler(tmp_path)
    with pytest.raises(CheckpointError, match="expected a checkpoint of step 3; found none"):
        stored_sampler(tmp_path / "own", step=3)


def test_nothing_is_written_over(file_of, tmp_path):
    path = file_of("NCSN")
    convert(path, tmp_path / "out")
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        export(tmp_path / "out", path)
    with pytest.raises(FileExistsError):
        write_ncsn(path, read_ncsn(path))
    assert path.read_bytes() == before
    with pytest.raises(CheckpointError, match="it holds checkpoints already; convert into another folder"):
        convert(path, tmp_path / "out")
    assert [entry.step for entry in CheckpointStore(tmp_path / "out").entries()] == [200_000]


def test_reading_and_writing_is_a_round_trip_as_well(file_of, tmp_path):
    path = file_of("NCSNv2")
    back = write_ncsn(tmp_path / "back.pth", read_ncsn(path))
    assert list(differences(loaded(back), loaded(path))) == []


def test_what_was_not_converted_or_is_damaged_is_not_exported(file_of, tmp_path):
    sk.save(tmp_path / "own", sk.DirectScore(sk.networks.MLP((2,))))
    with pytest.raises(
        CheckpointError, match=r"expected origin.json, which `convert` writes; it has config.json, model.safe"
    ):
        export(tmp_path / "own", tmp_path / "back.pth")
    step = convert(file_of("NCSN"), tmp_path / "out")
    files = CheckpointStore(tmp_path / "out").read().files
    origin = json.loads(files["origin.json"])
    for change, message in (
        ({"version": 9}, "newer scorekit"),
        ({"document": {"tensor": ["model.safetensors", "net.nothing"]}}, r"what `convert` writes; KeyError"),
        ({"document": {"set": []}}, r"expected a node of a stored file"),
        ({"document": {"dict": [1]}}, r"expected a key and a value"),
    ):
        store = CheckpointStore(tmp_path / "other")
        store.write(0, files | {"origin.json": json.dumps(origin | change).encode()})
        with pytest.raises(CheckpointError, match=message):
            export(store.folder, tmp_path / "back.pth")
    flip(step / "origin.safetensors", 999)
    with pytest.raises(CheckpointError, match=r"origin.safetensors: expected SHA-256"):
        export(tmp_path / "out", tmp_path / "back.pth")
    assert not (tmp_path / "back.pth").exists()


@pytest.mark.slow
def test_converting_reaches_for_no_compiler_and_nothing_that_import_scorekit_may_not(file_of, tmp_path):
    """Making a network on torch's meta device would import torch._dynamo: seconds."""
    script = (
        "import sys; from scorekit.interop import convert\n"
        f"convert({str(file_of('NCSN'))!r}, {str(tmp_path / 'out')!r})\n"
        "print([name for name in ('torch._dynamo', 'matplotlib', 'scipy', 'sklearn', 'PIL') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, timeout=120, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.stdout.strip() == "[]"
