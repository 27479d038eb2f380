"""Samples in chunks: drawn, given, on disk; without and with the last denoising step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import scorekit as sk
from scorekit.evaluation import (
    DrawnSamples,
    GivenSamples,
    ManifestError,
    NonFiniteSamplesError,
    Origin,
    Provenance,
    open_samples,
)
from scorekit.evaluation.drawn import denoised
from tests.evaluation.cases import LANGEVIN, NOISE, SHAPE, model

WITH = replace(LANGEVIN, final=sk.Denoise())
BYTES = torch.arange(5 * 64, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(5, *SHAPE)


def drawn(sampler=LANGEVIN, num_samples=10, **options) -> DrawnSamples:
    return DrawnSamples(model(), sampler, num_samples, **({"batch_size": 4, "seed": 3} | options))


def whole(samples, place=0) -> torch.Tensor:
    return torch.cat([samples.chunk(number)[place] for number in range(samples.num_chunks)])


def test_the_chunks_together_are_what_sample_draws():
    expected = sk.sample(LANGEVIN, model(), (10, *SHAPE), generator=sk.PerChain(3).fork("samples"), batch_size=4)
    assert torch.equal(whole(drawn()), expected.clamp(0, 1))
    assert [drawn().bounds(number) for number in range(4)] == [(0, 4), (4, 4), (8, 2), (12, 0)]


def test_a_chunk_does_not_depend_on_those_before_it():
    assert torch.equal(drawn().chunk(2)[0], whole(drawn())[8:])
    assert not torch.equal(drawn().chunk(1)[0], drawn().chunk(0)[0])  # the mutant: chunks from one stream
    torch.testing.assert_close(whole(drawn(batch_size=3)), whole(drawn()), rtol=0, atol=1e-4)
    assert not torch.equal(whole(drawn(seed=4)), whole(drawn()))


@pytest.mark.parametrize("sampler", [LANGEVIN, WITH], ids=["raw", "denoised"])
def test_the_last_move_is_left_or_added_as_asked(sampler):
    raw, clean = whole(drawn(LANGEVIN)), whole(drawn(WITH))
    assert not torch.allclose(raw, clean, atol=1e-3)
    assert torch.equal(whole(drawn(sampler, denoise=False)), raw)
    assert torch.equal(whole(drawn(sampler, denoise=True)), clean)
    both = drawn(sampler, denoise="both")
    assert torch.equal(whole(both, 0), raw)
    assert torch.equal(whole(both, 1), clean)
    assert [each.denoised for each in both.sets] == [False, True]  # the mutant: the two swapped
    assert [each.evaluations for each in both.sets] == [6, 7]


@pytest.mark.parametrize(
    "sampler",
    [
        sk.ancestral(NOISE),
        sk.heun(NOISE, final=sk.Euler()),
        sk.dpm_solver(NOISE),
        sk.annealed_mala(NOISE, steps_per_level=1, final=sk.Denoise()),
        sk.predictor_corrector(NOISE),
        sk.reverse_diffusion(NOISE, final=sk.ReverseDiffusion()),
    ],
    ids=["ancestral", "heun-euler", "dpm-solver", "mala", "predictor-corrector", "noisy-end"],
)
def test_the_last_move_alone_gives_what_the_sampler_gives(sampler):
    streams, family = sk.PerChain(1), model()
    without = sk.sample(replace(sampler, final=sk.Stay()), family, (3, *SHAPE), generator=streams)
    expected = sk.sample(sampler, family, (3, *SHAPE), generator=streams)
    torch.testing.assert_close(denoised(sampler, family, without, streams), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(without, expected, atol=1e-3)


def test_denoising_leaves_the_model_and_autograd_as_they_were():
    family = model().train()
    x = whole(drawn())
    assert denoised(WITH, family, x, sk.PerChain(0)).add(1).requires_grad is False
    assert family.training
    assert torch.is_grad_enabled()


def test_where_drawn_samples_come_from_is_stated():
    (known,) = drawn(WITH).sets
    assert (known.seed, known.evaluations, known.denoised, known.where) == (3, 7, True, "drawn")
    assert known.sampler == sk.to_config(WITH)
    assert known.model is not None
    assert known.model.checkpoint is None
    assert DrawnSamples(model(seed=1), WITH, 1).sets[0].model != known.model
    assert drawn(origin=Origin("ab", "runs/x", 5, "ema"), condition="label 3").sets[0].condition == "label 3"


def test_chains_that_ran_off_are_an_error_and_no_pictures():
    wild = sk.annealed_langevin(NOISE, step_size=sk.Constant(1e30), steps_per_level=3)
    with pytest.raises(NonFiniteSamplesError, match="4 of 4 chains are not finite"):
        drawn(wild).chunk(0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"num_samples": 0}, ValueError, "num_samples=0"),
        ({"batch_size": 2.5}, ValueError, "batch_size=2.5"),
        ({"denoise": "raw"}, ValueError, "denoise='raw'"),
        ({"sampler": sk.Denoise()}, TypeError, "expected Sampler"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        drawn(**change)


def test_models_of_other_things_are_refused():
    flat = sk.ScaledScore(sk.networks.MLP(event_shape=(2,)))
    with pytest.raises(ValueError, match=r"not a model of pictures: .* none"):
        DrawnSamples(flat, LANGEVIN, 1)
    flat.set_moments(torch.zeros(2), torch.ones(2))
    with pytest.raises(ValueError, match=r"of shape \(2,\)"):
        DrawnSamples(flat, LANGEVIN, 1)
    family = sk.from_score(lambda x, sigma: -x, moments=(torch.zeros(SHAPE), torch.ones(SHAPE)))
    with pytest.raises(TypeError, match="expected a ScoreModel, or origin="):
        DrawnSamples(family, LANGEVIN, 1)
    assert DrawnSamples(family, LANGEVIN, 2, origin=Origin("ab")).chunk(0)[0].shape == (2, *SHAPE)


def test_given_pictures_are_bytes_or_numbers_in_the_unit_interval():
    known = (Provenance("here"),)
    assert torch.equal(whole(GivenSamples((BYTES,), known, batch_size=2)), BYTES / 255)
    with pytest.raises(TypeError, match="int64"):
        GivenSamples((BYTES.long(),), known)
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        GivenSamples((BYTES[0],), known)
    with pytest.raises(ValueError, match="in every set alike"):
        GivenSamples((BYTES, BYTES[1:]), known * 2)
    with pytest.raises(ValueError, match="samples 2 to 3: values from"):
        GivenSamples((BYTES.float() / 200,), known, batch_size=2).chunk(1)


def test_arrays_and_foreign_folders_are_read(tmp_path):
    np.save(tmp_path / "x.npy", BYTES.numpy())
    assert torch.equal(whole(open_samples(tmp_path / "x.npy")), BYTES / 255)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, each in enumerate(BYTES.numpy()):
        Image.fromarray(each[0]).save(folder / f"{index}.png")
    assert torch.equal(whole(open_samples(folder)), BYTES / 255)
    assert open_samples(folder).sets == (Provenance(str(folder)),)


def test_what_is_no_samples_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        open_samples(tmp_path / "nothing")
    with pytest.raises(ValueError, match="at least one picture"):
        open_samples(tmp_path)
    (tmp_path / "x.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"expected an array of pictures"):
        open_samples(tmp_path / "x.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="expected an array"):
        open_samples(tmp_path / "objects.npy")
