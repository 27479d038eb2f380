"""Samples to disk: what is written, and that a killed run goes on to the same bits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import scorekit as sk
from scorekit.evaluation import ManifestError, Origin, generate, open_samples
from scorekit.evaluation.drawn import DrawnSamples
from tests.evaluation.cases import LANGEVIN, NOISE, SHAPE, model, on_processes
from tests.evaluation.test_samples import drawn, whole

FORMATS = ["png", "npy", "npy-uint8"]


def run(out: Path, net: sk.ScoreModel | None = None, **options):
    return generate(net or model(), LANGEVIN, 10, out, **({"seed": 3, "batch_size": 4} | options))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """Format -> the files of a run that nothing interrupted."""
    folders = {format: tmp_path_factory.mktemp(format) for format in FORMATS}
    for format, folder in folders.items():
        run(folder, format=format)
    return {format: content(folder) for format, folder in folders.items()}


def test_the_files_hold_what_was_drawn(tmp_path, undisturbed):
    expected = whole(drawn())
    assert sorted(undisturbed["png"]) == [f"{index:06d}.png" for index in range(10)] + ["manifest.json"]
    assert sorted(undisturbed["npy"]) == ["manifest.json", "samples.npy"]
    assert torch.equal(whole(run(tmp_path / "png")), (255 * expected).round() / 255)
    assert torch.equal(whole(run(tmp_path / "array", format="npy")), expected)
    assert torch.equal(whole(run(tmp_path / "bytes", format="npy-uint8")), (255 * expected).round() / 255)
    assert np.load(tmp_path / "array" / "samples.npy").dtype == np.float32
    assert np.load(tmp_path / "bytes" / "samples.npy").dtype == np.uint8


def test_colour_is_kept(tmp_path):
    net = sk.ScaledScore(sk.networks.MLP(event_shape=(3, 4, 5), width=8, depth=1))
    net.set_moments(torch.full((3, 4, 5), 0.5), torch.full((3, 4, 5), 0.3))
    found = whole(generate(net, LANGEVIN, 3, tmp_path))
    assert found.shape == (3, 3, 4, 5)
    assert torch.equal(found, (255 * DrawnSamples(net, LANGEVIN, 3).chunk(0)[0]).round() / 255)


def test_the_manifest_says_where_the_samples_come_from(tmp_path):
    run(tmp_path, origin=Origin("ab" * 32, "runs/digits/checkpoint", 400, "ema"), condition="label 3")
    document = json.loads((tmp_path / "manifest.json").read_text())
    model_said = {"sha256": "ab" * 32, "checkpoint": "runs/digits/checkpoint", "step": 400, "weights": "ema"}
    assert document["model"] == model_said
    assert sk.from_config(document["sampler"]) == LANGEVIN
    expected = {"seed": 3, "num_samples": 10, "batch_size": 4, "evaluations": 6, "denoised": False, "kind": "png"}
    assert {name: document[name] for name in expected} == expected
    assert (document["image_shape"], document["condition"]) == ([1, 8, 8], "label 3")
    (known,) = open_samples(tmp_path).sets
    assert (known.evaluations, known.seed, known.condition, known.where) == (6, 3, "label 3", str(tmp_path))


class Killed(BaseException):
    pass


def killed_after(monkeypatch, number: int) -> list[int]:
    """Generating dies when it has drawn `number` chunks; the list of all chunks ever drawn."""
    drawn_chunks: list[int] = []
    chunk = DrawnSamples.chunk

    def counted(self, place):
        if len(drawn_chunks) == number:
            raise Killed
        drawn_chunks.append(place)
        return chunk(self, place)

    monkeypatch.setattr(DrawnSamples, "chunk", counted)
    return drawn_chunks


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, monkeypatch, undisturbed, format, number):
    with monkeypatch.context() as patch:
        killed_after(patch, number)
        with pytest.raises(Killed):
            run(tmp_path, format=format)
    with pytest.raises(ManifestError, match="was interrupted"):
        open_samples(tmp_path)
    with monkeypatch.context() as patch:
        drawn_chunks = killed_after(patch, 99)
        run(tmp_path, format=format)
    assert drawn_chunks == list(range(number, 3))  # what is there is not drawn again
    assert content(tmp_path) == undisturbed[format]


@pytest.mark.parametrize("format", FORMATS)
def test_a_kill_in_the_middle_of_a_chunk_leaves_nothing_half(tmp_path, monkeypatch, undisturbed, format):
    import scorekit.evaluation.stores as stores

    replace, calls = stores.os.replace, []

    def dies(source, target):
        if str(target).endswith((".png", ".npy")):
            calls.append(target)
            if len(calls) == 2:
                raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(stores.os, "replace", dies)
        with pytest.raises(Killed):
            run(tmp_path, format=format)
    assert len(list(tmp_path.glob("*.tmp"))) == 1
    run(tmp_path, format=format)
    assert content(tmp_path) == undisturbed[format]


def test_a_kill_while_parts_are_joined_loses_none(tmp_path, monkeypatch, undisturbed):
    import scorekit.evaluation.stores as stores

    def dies(self):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(stores.ArrayFile, "finish", dies)
        with pytest.raises(Killed):
            run(tmp_path, format="npy")
    assert len(list(tmp_path.glob("part-*.npy"))) == 3
    run(tmp_path, format="npy")
    assert content(tmp_path) == undisturbed["npy"]


def test_a_finished_run_is_not_drawn_again(tmp_path, monkeypatch):
    first = whole(run(tmp_path))
    killed_after(monkeypatch, 0)
    assert torch.equal(whole(run(tmp_path)), first)


def test_a_chunk_written_twice_would_show(undisturbed):
    """The mutant of a resumed run: chunk 0 again in the place of chunk 1."""
    twice = undisturbed["png"] | {f"{4 + i:06d}.png": undisturbed["png"][f"{i:06d}.png"] for i in range(4)}
    assert twice != undisturbed["png"]
    assert len({each for name, each in undisturbed["png"].items() if name.endswith("png")}) == 10


CHANGES = [
    ({"seed": 4}, r"seed = 3, here 4"),
    ({"batch_size": 5}, r"batch_size = 4, here 5"),
    ({"format": "npy"}, r"kind = 'png', here 'npy'"),
    ({"denoise": True}, r"denoised = False, here True"),
    ({"condition": "label 3"}, r"condition = None, here 'label 3'"),
    ({"origin": Origin("cd")}, r"model.sha256 = .*, here 'cd'"),
    ({"sampler": sk.annealed_langevin(NOISE, steps_per_level=3)}, r"evaluations = 6, here 9"),
    ({"sampler": sk.annealed_langevin(sk.Geometric(1.0, 0.2, 3), steps_per_level=2)}, r"sigma_min = 0.1, here 0.2"),
    ({"num_samples": 11}, r"num_samples = 10, here 11"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[next(iter(change)) for change, _ in CHANGES])
def test_other_samples_in_the_folder_are_an_error_that_names_the_difference(tmp_path, change, message):
    run(tmp_path)
    before = content(tmp_path)
    options = {"seed": 3, "batch_size": 4, **change}
    sampler, number = options.pop("sampler", LANGEVIN), options.pop("num_samples", 10)
    with pytest.raises(ManifestError, match=message):
        generate(model(), sampler, number, tmp_path, **options)
    assert content(tmp_path) == before


def test_a_run_that_was_moved_is_the_same(tmp_path):
    run(tmp_path, origin=Origin("ab", "here/checkpoint", 4, "ema"))
    run(tmp_path, origin=Origin("ab", "there/checkpoint", 4, "ema"))
    with pytest.raises(ManifestError, match=r"model\.step = 4, here 5"):
        run(tmp_path, origin=Origin("ab", "here/checkpoint", 5, "ema"))


def test_resuming_must_be_allowed(tmp_path):
    run(tmp_path, resume=False)
    with pytest.raises(ManifestError, match="resume=True goes on"):
        run(tmp_path, resume=False)


def test_pictures_that_no_manifest_explains_are_not_taken_for_ours(tmp_path):
    (tmp_path / "000000.png").write_bytes(b"someone's")
    with pytest.raises(ManifestError, match=r"1 files such as 000000.png"):
        run(tmp_path)
    assert (tmp_path / "000000.png").read_bytes() == b"someone's"


def test_a_picture_too_many_is_noticed(tmp_path):
    run(tmp_path)
    (tmp_path / "000010.png").write_bytes((tmp_path / "000000.png").read_bytes())
    with pytest.raises(ManifestError, match="expected 10 samples; found 11"):
        open_samples(tmp_path)


def test_an_unknown_format_and_a_foreign_manifest_are_refused(tmp_path):
    with pytest.raises(ValueError, match="format = 'gif'"):
        run(tmp_path, format="gif")
    for text, message in (("{}", "of the format"), ("{", "expected JSON")):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(ManifestError, match=message):
            run(tmp_path)


def test_both_sets_are_kept_side_by_side(tmp_path):
    found = run(tmp_path, denoise="both", format="npy")
    both = drawn(denoise="both")
    for place, name in enumerate(("raw", "denoised")):
        assert torch.equal(whole(found, place), whole(both, place))
        assert torch.equal(whole(open_samples(tmp_path / name)), whole(both, place))
    assert [each.denoised for each in found.sets] == [False, True]
    with pytest.raises(ManifestError, match="of another denoise="):
        run(tmp_path, format="npy")


def test_any_number_of_processes_writes_the_same_files(tmp_path, undisturbed):
    net = model()  # not in the threads: they share torch's global generator, which its weights come from
    for number in (2, 4):
        folder = tmp_path / str(number)
        on_processes(number, lambda runtime, folder=folder: run(folder, net, runtime=runtime))
        assert content(folder) == undisturbed["png"]


def test_the_image_shape_is_that_of_the_data(tmp_path):
    assert run(tmp_path).image_shape == SHAPE
