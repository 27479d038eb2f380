"""The authors' samplers, by their published figures."""

import pytest
import torch

import scorekit as sk
from scorekit.interop import read_ncsn, sampler_of
from scorekit.target import Target
from tests.interop.authors import filled, random, shapes_of, write


def sampler(kind, folder, num_levels=10, sigma_max=50.0):
    shapes = shapes_of(kind, 3, 2, num_levels)
    return sampler_of(read_ncsn(write(folder / "x.pth", filled(shapes, sigma_max=sigma_max))))


def step_sizes(found):
    point = Target(lambda x: -x).point(torch.zeros(1, 2, dtype=torch.float64))
    return [found.step_size(sigma, point).item() for sigma in found.noise.levels().tolist()]


def test_ncsns_steps_are_the_released_ones(tmp_path):
    found = sampler("NCSN", tmp_path)
    released = [0.2, 0.071876273, 0.025830993, 0.0092831777, 0.0033362011, 0.0011989685, 4.3088694e-4, 1.5485274e-4,
                5.5651188e-5, 2e-5]  # fmt: skip
    assert step_sizes(found) == pytest.approx(released, rel=1e-7)
    assert (found.steps_per_level, found.start, found.final) == (100, sk.Uniform(0, 1), sk.Stay())
    assert step_sizes(found) != pytest.approx([h / 2 for h in released], rel=1e-2)  # as the paper prints them


def test_the_baseline_takes_a_thousand_steps_at_its_level(tmp_path):
    found = sampler("NCSN baseline", tmp_path)
    assert found == sk.langevin(sigma=0.01, step_size=2e-5, num_steps=1000, start=sk.Uniform(0, 1))


# kind, levels, sigma_1, steps a level, epsilon as published
PUBLISHED = [
    ("NCSNv2", 232, 50.0, 5, 6.2e-6),
    ("NCSNv2", 500, 90.0, 5, 3.3e-6),
    ("NCSNv2Deeper", 1086, 190.0, 3, 1.8e-6),
    ("NCSNv2Deepest", 2311, 348.0, 3, 9e-7),
]


@pytest.mark.parametrize(("kind", "num_levels", "sigma_max", "steps", "epsilon"), PUBLISHED)
def test_ncsnv2s_steps_are_the_published_ones(kind, num_levels, sigma_max, steps, epsilon, tmp_path):
    found = sampler(kind, tmp_path, num_levels, sigma_max)
    assert found.steps_per_level == steps
    assert step_sizes(found)[-1] == pytest.approx(epsilon, rel=0.02)  # published to two figures
    assert step_sizes(found)[0] == pytest.approx(step_sizes(found)[-1] * (sigma_max / 0.01) ** 2, rel=1e-5)
    assert (found.start, found.final) == (sk.Uniform(0, 1), sk.Denoise())
    assert len(found.noise.levels()) == num_levels


def test_another_number_of_steps_would_have_another_epsilon(tmp_path):
    found = sampler("NCSNv2", tmp_path, 232, 50.0)
    other = sk.tuning.epsilon_for(sk.Geometric(50.0, 0.01, 232), 3)
    assert step_sizes(found)[-1] != pytest.approx(other, rel=0.02)


def test_levels_without_a_constant_ratio_have_no_step_size(tmp_path, generator):
    state = random(shapes_of("NCSNv2", 3, 2), generator) | {"sigmas": torch.linspace(5.0, 0.5, 10)}
    found = read_ncsn(write(tmp_path / "x.pth", state))
    with pytest.raises(ValueError, match=r"10 levels from 5 to 0.5: expected a constant ratio"):
        sampler_of(found)
    shapes = shapes_of("NCSNv2", 3, 2, 1)
    alone = read_ncsn(write(tmp_path / "y.pth", random(shapes, generator)))
    with pytest.raises(ValueError, match=r"1 levels from"):
        sampler_of(alone)


def test_a_converted_model_is_sampled_by_the_authors_sampler(tmp_path, generator):
    state = filled(shapes_of("NCSNv2", 1, 2, 3), sigma_max=1.0)
    found = read_ncsn(write(tmp_path / "x.pth", state), image_size=4)
    x = sk.sample(sampler_of(found), found.model(), (2, 1, 4, 4), generator=generator)
    assert x.shape == (2, 1, 4, 4)
    assert x.isfinite().all()
