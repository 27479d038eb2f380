"""The papers' runs, field by field, and what recipes make of pictures."""

from functools import partial

import pytest
import torch

import scorekit as sk
from scorekit.data import Images
from scorekit.recipes import NCSN, RECIPES, ImageRecipe, NCSNv2, ScoreUNet, SingleNoise
from scorekit.recipes.images import image_shape
from scorekit.training import TrainingConfig
from scorekit.tuning import epsilon_for, largest_distance, num_levels_for_overlap


def pictures(channels: int = 1, count: int = 12, size: int = 8) -> Images:
    pixels = torch.randint(256, (count, channels, size, size), generator=torch.Generator().manual_seed(channels))
    return Images(pixels.to(torch.uint8), labels=torch.arange(count) % 3)


def sources(recipe: ImageRecipe, monkeypatch, channels: int = 1):
    images = pictures(channels)
    monkeypatch.setattr("scorekit.recipes.images.read_images", lambda spec, split="train", size=None: images)
    return recipe.open("anything")


def test_ncsn_is_appendix_b2_and_the_released_code():
    """ncsn configs/anneal.yml and appendix B.2; the doubled step of the released sampler."""
    recipe = sk.make("recipes", "cifar10-ncsn")
    training = recipe.training
    assert (recipe.width, recipe.grey_width, recipe.flip, recipe.dequantize) == (128, 64, True, True)
    assert recipe.noise == sk.Geometric(sigma_max=1.0, sigma_min=0.01, num_levels=10)
    assert (training.num_steps, training.batch_size, training.seed) == (200_001, 128, 1234)
    assert (training.learning_rate, training.betas, training.adam_eps) == (1e-3, (0.9, 0.999), 1e-8)
    assert (training.weight_decay, training.amsgrad) == (0.0, False)
    assert (training.warmup_steps, training.decay, training.clip_norm) == (0, "constant", None)
    assert training.ema_decay is None
    assert (training.checkpoint_every, training.keep_every, training.log_every) == (5000, 5000, 100)
    assert (training.accumulate, training.precision) == (1, "no")
    sampler = recipe.sampler()
    assert sampler == sk.AnnealedMCMC(
        sk.Unadjusted(sk.Langevin()), recipe.noise, sk.SigmaSquared(2e-5, sigma_min=0.01), 100, start=sk.Uniform(0, 1)
    )
    point = sk.base.Point(sk.base.Target(lambda x: x), torch.zeros(1, 1))
    steps = [float(sampler.step_size(sigma, point)) for sigma in recipe.noise.levels().tolist()]
    assert steps[:2] == pytest.approx([0.2, 0.071876273], rel=1e-6)
    assert sk.make("recipes", "mnist-ncsn").width == 64


def test_the_baseline_is_one_level_and_a_thousand_steps(monkeypatch):
    recipe = sk.make("recipes", "cifar10-baseline", width=4)
    assert (recipe.sigma, recipe.step_size, recipe.num_steps, recipe.num_samples) == (0.01, 2e-5, 1000, 100)
    source, _ = sources(recipe, monkeypatch, channels=3)
    experiment = recipe.experiment(source)
    assert experiment.noise == sk.SingleLevel(0.01)
    assert experiment.objective().level_weights.tolist() == [1]
    assert experiment.sampler.num_updates() == 1000
    assert experiment.sampler == sk.langevin(sigma=0.01, step_size=2e-5, num_steps=1000, start=sk.Uniform(0, 1))


def test_ncsnv2_is_the_released_configuration():
    """ncsnv2 configs and table 4: the rate of 1e-4, an average of .999 from the first step on, no dequantisation."""
    recipe = sk.make("recipes", "cifar10-ncsnv2")
    training = recipe.training
    assert (training.num_steps, training.learning_rate, training.batch_size) == (300_001, 1e-4, 128)
    assert (training.ema_decay, training.ema_warmup) == (0.999, False)
    assert (recipe.width, recipe.sigma_min, recipe.steps_per_level, recipe.dequantize) == (128, 0.01, 5, False)
    assert sk.make("recipes", "celeba64-ncsnv2").size == 64


def test_ncsnv2_takes_its_levels_and_step_from_the_data(monkeypatch):
    recipe = NCSNv2(TrainingConfig(1), width=4, dequantize=False, sigma_min=0.05)
    source, _ = sources(recipe, monkeypatch)
    experiment = recipe.experiment(source)
    pixels = pictures().pixels.flatten(1).double() / 255
    distance = torch.cdist(pixels, pixels).max().item()
    assert experiment.noise.sigma_max == pytest.approx(distance, rel=1e-6)
    assert experiment.noise.num_levels == num_levels_for_overlap(64, experiment.noise.sigma_max, 0.05)
    epsilon = epsilon_for(experiment.noise, 5)
    assert experiment.sampler == sk.annealed_langevin(
        experiment.noise, step_size=sk.SigmaSquared(epsilon, sigma_min=0.05), steps_per_level=5,
        start=sk.Uniform(0, 1), final=sk.Denoise(),
    )  # fmt: skip
    assert isinstance(experiment.model, sk.ScaledScore)
    assert type(experiment.model.net).__name__ == "NCSNv2"


@pytest.mark.parametrize(("size", "name"), [(64, "NCSNv2"), (96, "NCSNv2Deeper"), (256, "NCSNv2Deepest")])
def test_ncsnv2s_network_goes_by_the_size(size, name):
    with torch.device("meta"):
        net = NCSNv2(TrainingConfig(1), width=4)._network((3, size, size))
    assert type(net).__name__ == name


def test_a_unet_is_preconditioned_by_its_data(monkeypatch):
    recipe = ScoreUNet(TrainingConfig(1), width=8, channel_multipliers=(1,), num_blocks=1, attention_sizes=())
    source, _ = sources(recipe, monkeypatch)
    experiment = recipe.experiment(source)
    data = pictures().pixels.double() / 256
    assert experiment.model.center == pytest.approx(data.mean().item() + 1 / 512, rel=1e-6)
    assert experiment.model.scale == pytest.approx((data.var(correction=0).item() + 1 / 12 / 256**2) ** 0.5, rel=1e-4)
    assert experiment.weight.scale == experiment.model.scale
    assert experiment.noise.sigma_max == largest_distance(source, generator=sk.PerChain(0))
    assert experiment.sampler == sk.dpm_solver(sk.Karras(experiment.noise.sigma_max, 0.01, 20))
    assert experiment.model.net.num_classes is None


def test_a_unet_may_be_told_the_labels(monkeypatch):
    recipe = ScoreUNet(
        TrainingConfig(1), width=8, channel_multipliers=(1,), num_blocks=1, attention_sizes=(), with_labels=True
    )
    source, _ = sources(recipe, monkeypatch)
    assert source.condition(torch.arange(4)).tolist() == [0, 1, 2, 0]
    assert recipe.experiment(source).model.net.num_classes == 3


def test_colour_pictures_are_flipped_and_grey_ones_are_not(monkeypatch):
    recipe = NCSN(TrainingConfig(1), width=4, grey_width=2)
    colour, grey = sources(recipe, monkeypatch, channels=3)[0], sources(recipe, monkeypatch)[0]
    assert "RandomHorizontalFlip(p=0.5)" in repr(colour.transform)
    assert repr(grey.transform) == "Compose(transforms=(Dequantize(levels=256),))"
    assert [recipe.experiment(source).model.net.width for source in (colour, grey)] == [4, 2]
    plain = NCSN(TrainingConfig(1), flip=False, dequantize=False)
    assert repr(sources(plain, monkeypatch, channels=3)[0].transform) == "Compose(transforms=(Rescale(levels=256),))"


def test_the_held_out_pictures_are_as_many_as_a_batch(monkeypatch):
    source, held_out = sources(NCSN(TrainingConfig(1, batch_size=5)), monkeypatch)
    assert (len(source), len(held_out), image_shape(source)) == (12, 5, (1, 8, 8))


def test_pictures_of_two_shapes_are_refused(monkeypatch):
    given = {"train": pictures(), "test": pictures(3)}
    monkeypatch.setattr("scorekit.recipes.images.read_images", lambda spec, split="train", size=None: given[split])
    with pytest.raises(ValueError, match=r"anything: training images of shape \(1, 8, 8\), test images of shape \(3"):
        NCSN(TrainingConfig(1)).open("anything")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_is(name):
    about = RECIPES[name].__doc__
    assert about
    assert about != partial.__doc__
    assert about.endswith(".")


def test_a_recipe_without_samples_is_refused():
    with pytest.raises(ValueError, match=r"NCSN\(num_samples=0\)"):
        NCSN(TrainingConfig(1), num_samples=0)
    assert SingleNoise(TrainingConfig(1)).data is None
