"""Reference statistics: parts merge, files come back, and nothing else passes for them."""

from dataclasses import replace

import pytest
import torch

from scorekit.data import digits
from scorekit.evaluation import FunctionExtractor, StatisticsError, StoredStatistics, evaluate, reference_statistics
from scorekit.evaluation.reference import Reference
from scorekit.metrics import frechet_distance
from tests.evaluation.cases import extractor, on_processes, pixels

TRAIN = digits("train")
REFERENCE = Reference(TRAIN, "train")
SAMPLES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
WHOLE = reference_statistics(REFERENCE, extractor())


def test_they_are_mean_and_covariance_of_all_features():
    features = pixels(REFERENCE.pictures(0, 1500)).double()
    assert WHOLE.statistics.count == 1500
    torch.testing.assert_close(WHOLE.statistics.mean, features.mean(0), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(WHOLE.statistics.cov, features.T.cov(), rtol=1e-10, atol=1e-14)


def test_four_parts_by_four_runs_merge_to_the_whole_in_any_order(tmp_path):
    for number, (first, count) in enumerate(((0, 400), (400, 1), (401, 599), (1000, 500))):
        reference_statistics(REFERENCE, extractor(), first=first, count=count).save(tmp_path / f"{number}.safetensors")
    parts = [StoredStatistics.load(tmp_path / f"{number}.safetensors") for number in (2, 0, 3, 1)]
    merged = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
    assert merged.parts == ((0, 1500),)
    torch.testing.assert_close(merged.statistics.mean, WHOLE.statistics.mean, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(merged.statistics.cov, WHOLE.statistics.cov, rtol=1e-12, atol=1e-14)
    assert parts[0].statistics.count == 599  # as it was
    merged.save(tmp_path / "merged.safetensors")
    found = evaluate(SAMPLES, TRAIN, extractor=extractor(), cache=tmp_path / "merged.safetensors").value("fid")
    assert found == pytest.approx(evaluate(SAMPLES, TRAIN, extractor=extractor()).value("fid"), rel=1e-10)


def test_pictures_counted_twice_are_refused():
    first = reference_statistics(REFERENCE, extractor(), count=100)
    again = reference_statistics(REFERENCE, extractor(), first=99, count=10)
    for one, other in ((first, again), (again, first), (first, first)):
        with pytest.raises(StatisticsError, match="are in both"):
            one.merge(other)
    gap = reference_statistics(REFERENCE, extractor(), first=101, count=10)
    assert first.merge(gap).parts == ((0, 100), (101, 10))


def test_a_file_that_is_there_is_used_and_one_that_is_not_is_written(tmp_path):
    path, calls = tmp_path / "kept" / "reference.safetensors", []

    def counted(images):
        calls.append(len(images))
        return pixels(images)

    by = FunctionExtractor(counted, "counted")
    first = evaluate(SAMPLES, TRAIN, extractor=by, cache=path)
    assert sum(calls) == 1540
    del calls[:]
    assert evaluate(SAMPLES, TRAIN, extractor=by, cache=path) == first
    assert sum(calls) == 40
    assert list(path.parent.iterdir()) == [path]


OTHERS = {
    "extractor": {"extractor": extractor("other pixels")},
    "weights_hash": {"extractor": FunctionExtractor(pixels, "fourteen pixels", weights_hash="ab")},
    "pixels_hash": {"reference": replace(TRAIN, pixels=TRAIN.pixels.flip(0))},
    "data": {"reference": replace(TRAIN, name="others-train")},
    "split": {"split": "held out", "reference": replace(TRAIN, name="digits-held out")},
}


@pytest.mark.parametrize("name", OTHERS)
def test_statistics_of_something_else_are_refused(tmp_path, name):
    path = tmp_path / "reference.safetensors"
    options = {"extractor": extractor(), "cache": path, "reference": TRAIN}
    evaluate(SAMPLES, options.pop("reference"), **options)
    options |= {"reference": TRAIN, **OTHERS[name]}
    with pytest.raises(StatisticsError, match=f"{name} is"):
        evaluate(SAMPLES, options.pop("reference"), **options)


def test_statistics_of_a_part_are_not_taken_for_those_of_the_whole(tmp_path):
    path = tmp_path / "part.safetensors"
    reference_statistics(REFERENCE, extractor(), count=1499).save(path)
    with pytest.raises(StatisticsError, match=r"of all 1500 pictures; found the parts \(\(0, 1499\),\)"):
        evaluate(SAMPLES, TRAIN, extractor=extractor(), cache=path)
    features = pixels(SAMPLES).double()
    whole = frechet_distance(features.mean(0), features.T.cov(), WHOLE.statistics.mean, WHOLE.statistics.cov)
    part = StoredStatistics.load(path).statistics
    assert frechet_distance(features.mean(0), features.T.cov(), part.mean, part.cov) != pytest.approx(whole, rel=1e-6)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(StatisticsError, match="expected statistics"):
        StoredStatistics.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(StatisticsError, match="expected statistics"):
        StoredStatistics.load(path)
    import safetensors.torch

    path.write_bytes(safetensors.torch.save({"x": torch.zeros(2)}))
    with pytest.raises(StatisticsError, match="not of the format"):
        StoredStatistics.load(path)


@pytest.mark.parametrize(("first", "count"), [(-1, 5), (0, 0), (1400, 101), (1500, None)])
def test_pictures_that_are_not_there_are_refused(first, count):
    with pytest.raises(ValueError, match="expected some of the 1500 pictures"):
        reference_statistics(REFERENCE, extractor(), first=first, count=count)


def test_processes_find_the_same_bits():
    found = on_processes(3, lambda runtime: reference_statistics(REFERENCE, extractor(), runtime=runtime))
    for each in found:
        for name, value in each.statistics.state().items():
            assert torch.equal(value, WHOLE.statistics.state()[name])
