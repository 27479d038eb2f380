"""Samples against real pictures: the numbers are those computed directly, wherever the samples lie."""

import pytest
import torch

import scorekit as sk
from scorekit.data import Images, digits
from scorekit.evaluation import (
    DrawnSamples,
    FunctionExtractor,
    GivenSamples,
    Inception,
    Kernel,
    Nearest,
    Provenance,
    Report,
    evaluate,
    evaluate_checkpoint,
    generate,
    held_out_loss,
    open_reference,
)
from scorekit.evaluation.pixels import unit_pixels
from scorekit.metrics import InceptionScore, frechet_distance, polynomial_mmd
from tests.evaluation.cases import LANGEVIN, NOISE, SHAPE, extractor, model, on_processes, pixels, store_run

TRAIN, TEST = digits("train"), digits("test")
REAL, FAKE = unit_pixels(TRAIN, 0, 1500), unit_pixels(TEST, 0, 297)
ALL = ["fid", "kid", "is", "neighbours"]


def moments(images):
    features = pixels(images).double()
    return features.mean(0), features.T.cov()


FRECHET = frechet_distance(*moments(FAKE), *moments(REAL))


def judged(samples=FAKE, reference=TRAIN, metrics=("fid",), **options) -> Report:
    return evaluate(samples, reference, metrics=metrics, **({"extractor": extractor()} | options))


def test_the_frechet_distance_is_the_one_computed_directly():
    found = judged(reference="embedded")
    assert found.value("fid") == pytest.approx(FRECHET, rel=1e-9)
    assert found.value("fid") > 1e-3
    assert judged(samples=FAKE[:-1]).value("fid") != pytest.approx(FRECHET, rel=1e-4)  # the mutant: one sample lost
    twice = torch.cat([FAKE[:100], FAKE[:100], FAKE[200:]])  # the mutant: a chunk twice
    assert judged(samples=twice).value("fid") != pytest.approx(FRECHET, rel=1e-4)


def test_the_split_of_the_reference_is_the_one_asked_for():
    assert judged(reference="embedded", split="test").value("fid") == pytest.approx(0, abs=1e-9)
    (result,) = judged(reference="embedded", split="test").results
    assert str(result.reference) == "digits test, 297"


def test_the_number_is_the_same_wherever_the_samples_lie(tmp_path):
    expected = judged(DrawnSamples(model(), LANGEVIN, 12)).value("fid")
    for format in ("png", "npy", "npy-uint8"):
        kept = generate(model(), LANGEVIN, 12, tmp_path / format, format=format)
        assert judged(kept).value("fid") == judged(tmp_path / format).value("fid") == expected
    memory = DrawnSamples(model(), LANGEVIN, 12).chunk(0)[0]
    assert judged(memory).value("fid") == judged((255 * memory).round().to(torch.uint8)).value("fid") == expected
    assert judged(tmp_path / "npy" / "samples.npy").value("fid") == expected


@pytest.mark.parametrize("batch_size", [7, 100, 1000])
def test_batches_of_any_size_give_the_same_numbers(batch_size):
    found = judged(metrics=ALL[:3], batch_size=batch_size)
    assert found.value("fid") == pytest.approx(FRECHET, rel=1e-9)
    expected = judged(metrics=ALL[:3])
    assert [each.value for each in found.results] == pytest.approx([each.value for each in expected.results], rel=1e-9)


def test_the_kernel_distance_and_the_score_are_those_of_the_metrics():
    found = judged(metrics=[Kernel(100), Inception(splits=3)])
    blocks = [polynomial_mmd(pixels(FAKE[i : i + 100]), pixels(REAL[i : i + 100])) for i in (0, 100)]
    assert found.value("kid") == pytest.approx(sum(blocks) / 2, rel=1e-9)
    assert found.results[0].num_samples == 200  # 97 make no block
    assert found.results[0].error == pytest.approx(abs(blocks[0] - blocks[1]) / 2, rel=1e-6)
    score = InceptionScore(10, splits=3, total=297)
    score.update(5 * FAKE.flatten(1)[:, :10])
    assert (found.value("is"), found.results[1].error) == pytest.approx(score.result()[:2], rel=1e-9)
    assert found.results[1].reference is None


def test_a_reference_that_is_too_short_for_the_blocks_is_repeated_with_a_warning():
    found = judged(samples=REAL[:600], reference=TEST, metrics=[Kernel(100)])
    assert found.results[0].num_samples == 600
    assert any("which were repeated: its standard error is too small" in each for each in found.warnings)
    assert not any("repeated" in each for each in judged(metrics=[Kernel(100)]).warnings)


def test_the_nearest_real_picture_of_a_copy_is_itself():
    copies = torch.cat([REAL[:2], REAL[3:5].flip(-1), FAKE[:5]])
    median, least = judged(copies, metrics=["neighbours"], extractor=None).results
    assert least.value == 0 < median.value
    assert judged(copies, metrics=[Nearest(num_samples=4)], extractor=None).results[0].value == 0
    assert judged(FAKE[:9], metrics=["neighbours"], extractor=None).results[1].value > 0.1
    assert (median.extractor, median.num_samples) == (None, 9)


def test_two_sets_of_one_object_give_two_numbers_each_with_its_own_circumstances():
    both = judged(DrawnSamples(model(), LANGEVIN, 12, denoise="both"), metrics=["fid", "is"])
    for denoised in (False, True):
        alone = judged(DrawnSamples(model(), LANGEVIN, 12, denoise=denoised), metrics=["fid", "is"])
        for metric in ("fid", "is"):
            assert both.value(metric, denoised=denoised) == alone.value(metric)
    assert both.value("fid", denoised=True) != both.value("fid", denoised=False)
    assert [(each.metric, each.provenance.denoised, each.provenance.evaluations) for each in both.results] == [
        ("fid", False, 6), ("is", False, 6), ("fid", True, 7), ("is", True, 7),
    ]  # fmt: skip
    with pytest.raises(KeyError, match="2 numbers"):
        both.value("fid")


def test_processes_share_the_work_and_find_the_same_numbers(tmp_path):
    drawn = DrawnSamples(model(), LANGEVIN, 25, batch_size=4, denoise="both")
    expected = judged(drawn, metrics=ALL, cache=tmp_path / "one.safetensors")
    for number in (2, 3):
        cache = tmp_path / f"{number}.safetensors"
        found = on_processes(
            number, lambda runtime, cache=cache: judged(drawn, metrics=ALL, runtime=runtime, cache=cache)
        )
        assert found == [expected] * number


FEW = "not comparable with published ones at 50,000"


def test_few_samples_are_warned_of_in_the_result_itself():
    small = GivenSamples((torch.rand(1024, *SHAPE),), (Provenance("in memory"),), batch_size=1024)
    found = judged(small, metrics=["fid", "is", "kid"])
    assert "FID of 1,024 samples: biased upward; not comparable with published ones at 50,000" in found.warnings
    for result, warned in zip(found.results, (True, True, False), strict=True):  # a kernel distance has no bias
        assert any(FEW in each for each in result.warnings) == warned


def test_as_many_samples_as_published_are_not_warned_of():
    flat = FunctionExtractor(lambda images: images.flatten(1)[:, :2], "two pixels")
    enough = torch.rand(1, *SHAPE).expand(49_999, *SHAPE)
    assert any(FEW in each for each in judged(enough, extractor=flat, batch_size=25_000).warnings)
    enough = torch.rand(1, *SHAPE).expand(50_000, *SHAPE)
    assert not any(FEW in each for each in judged(enough, extractor=flat, batch_size=25_000).warnings)


def test_fewer_samples_than_features_and_other_networks_are_warned_of():
    assert any("covariance is singular" in each for each in judged(FAKE[:14]).warnings)
    assert not any("singular" in each for each in judged(FAKE[:15]).warnings)
    assert any("'fourteen pixels', not of the published" in each for each in judged().warnings)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"metrics": ["fdi"]}, ValueError, "unknown metric 'fdi'; did you mean 'fid'"),
        ({"metrics": "fid"}, ValueError, "expected a list"),
        ({"metrics": []}, ValueError, "expected a list"),
        ({"extractor": None}, TypeError, "give an extractor"),
        ({"samples": FAKE[:, :, :7]}, ValueError, r"samples of shape \(1, 7, 8\)"),
        ({"samples": FAKE * 2}, ValueError, r"values from 0.0 to 2.0"),
        ({"metrics": ["is"], "extractor": FunctionExtractor(pixels, "pixels")}, ValueError, "with logits"),
        ({"metrics": ["is"], "samples": FAKE[:9]}, ValueError, "total"),
        ({"metrics": ["loss"]}, ValueError, "give held-out pictures"),
        ({"metrics": ["loss"], "held_out": TEST}, ValueError, "samples alone have no loss"),
        ({"reference": "embeded"}, ValueError, "did you mean 'embedded'"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        judged(**change)


def test_the_loss_is_that_of_the_objective():
    found = judged(DrawnSamples(model(), LANGEVIN, 2), metrics=["loss"], held_out=TEST)
    levels = {each.settings["sigma"]: each.value for each in found.results if each.metric == "loss at sigma"}
    assert list(levels) == pytest.approx(NOISE.levels().tolist())
    assert found.value("loss") == pytest.approx(sum(levels.values()) / 3)
    objective = sk.Objective(model(), sk.DenoisingScoreMatching(), NOISE, "sigma^2")
    source = sk.data.as_source(TEST)
    for index, (sigma, loss) in enumerate(levels.items()):
        draws = sk.PerChain(0).fork("held-out").fork(index)
        x = source.batch(torch.arange(297), generator=draws.fork("data"))
        assert loss == pytest.approx(
            objective.loss_at(x, x.new_full((297,), sigma), generator=draws).loss.item(), rel=1e-5
        )
    (mean, *_) = found.results
    assert (str(mean.reference), mean.num_samples, mean.provenance.sampler) == ("digits test, 297", None, None)


def test_a_loss_of_a_model_for_every_sigma_needs_levels():
    with pytest.raises(ValueError, match="name the levels"):
        held_out_loss(model(), open_reference("embedded", "test"))
    table = sk.DirectScore(sk.networks.MLP(event_shape=SHAPE, width=4, depth=1), noise=NOISE)
    losses = held_out_loss(table, open_reference("embedded", "test")).results
    assert [each.settings["sigma"] for each in losses[1:]] == pytest.approx(NOISE.levels().tolist())


def test_a_checkpoint_is_sampled_and_judged_with_its_origin(tmp_path):
    run = store_run(tmp_path / "run", {100: 0.5, 200: 1.0})
    options = {"sampler": LANGEVIN, "num_samples": 12, "extractor": extractor(), "metrics": ["fid", "loss"]}
    found = evaluate_checkpoint(run, "embedded", **options)
    known = found.results[0].provenance
    assert known.model is not None
    assert (known.model.step, known.model.weights) == (200, "ema")
    assert found.value("fid") == judged(DrawnSamples(model(), LANGEVIN, 12)).value("fid")
    earlier = evaluate_checkpoint(run, "embedded", step=100, **options)
    assert earlier.value("fid") != found.value("fid")
    raw = evaluate_checkpoint(run, "embedded", step=100, weights="raw", **options)
    assert raw.value("fid") == found.value("fid")
    assert raw.results[0].provenance.model.sha256 != earlier.results[0].provenance.model.sha256
    kept = evaluate_checkpoint(run, "embedded", out=tmp_path / "kept", **options)
    assert [each.value for each in kept.results] == [each.value for each in found.results]
    assert kept.results[0].provenance.model == known.model
    assert kept.results[0].provenance.where == str(tmp_path / "kept")


def test_a_checkpoint_without_a_run_needs_a_sampler(tmp_path):
    sk.save(tmp_path, model())
    with pytest.raises(ValueError, match="give one, sampler="):
        evaluate_checkpoint(tmp_path, "embedded", extractor=extractor())


def test_pictures_in_memory_are_a_reference_too():
    spread = Images(TRAIN.pixels.float() / 16, levels=None, name="mine")
    found = judged(reference=spread)
    assert found.value("fid") == pytest.approx(FRECHET, rel=1e-9)
    assert str(found.results[0].reference) == "mine train, 1,500"
