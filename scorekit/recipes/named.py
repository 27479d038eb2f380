"""The recipes by name: the papers' runs as published, and small ones for two CPU cores."""

from collections.abc import Callable, Mapping
from functools import partial

from scorekit.noise import Geometric
from scorekit.recipe import Recipe
from scorekit.recipes.ncsn import NCSN, SingleNoise
from scorekit.recipes.ncsnv2 import NCSNv2
from scorekit.recipes.unet import ScoreUNet
from scorekit.training_config import TrainingConfig

# Appendix B.2 of the paper and the released code: no average, no schedule.
PAPER = TrainingConfig(
    num_steps=200_001, batch_size=128, learning_rate=1e-3, seed=1234,
    log_every=100, validate_every=5000, checkpoint_every=5000, keep_every=5000,
)  # fmt: skip
# As released: an average from the first step on; a rate of 1e-3 is too much for a network over sigma.
PAPER_V2 = TrainingConfig(
    num_steps=300_001, batch_size=128, learning_rate=1e-4, ema_decay=0.999, ema_warmup=False, seed=1234,
    log_every=100, validate_every=5000, checkpoint_every=5000, keep_every=5000,
)  # fmt: skip
MODERN = TrainingConfig(
    num_steps=300_000, batch_size=128, learning_rate=2e-4, warmup_steps=5000, ema_decay=0.9999, clip_norm=1.0,
    seed=1234, log_every=100, validate_every=5000, checkpoint_every=5000, keep_every=25_000,
)  # fmt: skip
DIGITS = TrainingConfig(
    num_steps=2400, batch_size=64, learning_rate=3e-3, warmup_steps=100, decay="cosine", ema_decay=0.995,
    validate_every=400, checkpoint_every=400,
)  # fmt: skip
SMALL = TrainingConfig(
    num_steps=3000, batch_size=64, learning_rate=3e-3, warmup_steps=100, decay="cosine", ema_decay=0.995,
    validate_every=400, checkpoint_every=200,
)  # fmt: skip
SMALL_V2 = TrainingConfig(
    num_steps=3000, batch_size=64, learning_rate=1e-3, warmup_steps=100, decay="cosine", ema_decay=0.995,
    clip_norm=50.0, validate_every=400, checkpoint_every=200,
)  # fmt: skip

# Seconds: shows that everything runs.
SMOKE = TrainingConfig(
    num_steps=20, batch_size=16, ema_decay=0.9, log_every=5, validate_every=10, checkpoint_every=10,
)  # fmt: skip

SMALL_UNET = TrainingConfig(
    num_steps=3000, batch_size=64, learning_rate=2e-3, warmup_steps=100, decay="cosine", ema_decay=0.995,
    clip_norm=50.0, validate_every=400, checkpoint_every=200,
)  # fmt: skip

COARSE = Geometric(sigma_max=1.0, sigma_min=0.03, num_levels=8)  # fewer levels, each learned better in few steps
COARSE_EPSILON = 0.2 * 0.03**2  # h / sigma^2 as in the paper's run


def _named(about: str, made: Callable[..., Recipe], **params: object) -> Callable[..., Recipe]:
    """A recipe's class with other defaults, and a docstring of its own."""
    named = partial(made, **params)
    named.__doc__ = about
    return named


_COARSE = {"width": 16, "noise": COARSE, "epsilon": COARSE_EPSILON, "denoise": True}
_UNET = {
    "width": 16, "channel_multipliers": (1, 2, 4), "num_blocks": 1, "attention_sizes": (7,), "fourier_scale": 1.0,
    "sigma_min": 0.02,
}  # fmt: skip

RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "mnist-ncsn": _named("NCSN on MNIST, as published.", NCSN, training=PAPER, data="mnist", width=64),
    "cifar10-ncsn": _named(
        "NCSN on CIFAR-10, as published: the flagship.", NCSN, training=PAPER, data="cifar10", grey_width=64
    ),
    "celeba32-ncsn": _named("NCSN on CelebA at 32 pixels, as published.", NCSN, training=PAPER, size=32),
    "celeba64-ncsn": _named("NCSN on CelebA at 64 pixels.", NCSN, training=PAPER, size=64),
    "mnist-baseline": _named(
        "The baseline with one noise level, on MNIST: Figs 7 and 8.", SingleNoise, training=PAPER, data="mnist",
        width=64,
        num_samples=100,
    ),
    "cifar10-baseline": _named(
        "The baseline with one noise level, on CIFAR-10: Figs 7 and 8.", SingleNoise, training=PAPER, data="cifar10",
        num_samples=100,
    ),
    "celeba32-baseline": _named(
        "The baseline with one noise level, on CelebA: Figs 7 and 8.", SingleNoise, training=PAPER, size=32,
        num_samples=100,
    ),
    "mnist-ncsnv2": _named(
        "NCSNv2 on MNIST.", NCSNv2, training=PAPER_V2, data="mnist", width=64, dequantize=False
    ),
    "cifar10-ncsnv2": _named(
        "NCSNv2 on CIFAR-10, as published, its levels from the data.", NCSNv2, training=PAPER_V2, data="cifar10",
        dequantize=False,
    ),
    "celeba32-ncsnv2": _named("NCSNv2 on CelebA at 32 pixels.", NCSNv2, training=PAPER_V2, size=32, dequantize=False),
    "celeba64-ncsnv2": _named(
        "NCSNv2 on CelebA at 64 pixels, as published, its levels from the data.", NCSNv2, training=PAPER_V2, size=64,
        dequantize=False,
    ),
    "cifar10-unet": _named(
        "A preconditioned U-Net on CIFAR-10.", ScoreUNet, training=MODERN, data="cifar10", dropout=0.1
    ),
    "digits-ncsn-smoke": _named(
        "NCSN on the embedded digits in seconds: shows that everything runs.", NCSN, training=SMOKE, data="embedded",
        width=4, steps_per_level=2, denoise=True, num_samples=16,
    ),
    "digits-ncsn": _named(
        "NCSN on the embedded digits: minutes on two CPU cores.", NCSN, training=DIGITS, data="embedded",
        steps_per_level=40, **_COARSE,
    ),
    "digits-baseline": _named(
        "The baseline with one noise level, on the embedded digits: minutes on two CPU cores.", SingleNoise,
        training=DIGITS, data="embedded", width=16,
    ),
    "mnist-ncsn-small": _named(
        "NCSN on MNIST: half an hour on two CPU cores.", NCSN, training=SMALL, data="mnist", steps_per_level=50,
        **_COARSE,
    ),
    "cifar10-ncsn-small": _named(
        "NCSN on CIFAR-10: half an hour on two CPU cores.", NCSN, training=SMALL, data="cifar10", steps_per_level=50,
        **_COARSE,
    ),
    "mnist-ncsnv2-small": _named(
        "NCSNv2 on MNIST: half an hour on two CPU cores.", NCSNv2, training=SMALL_V2, data="mnist", width=16,
        sigma_min=0.03, dequantize=False,
    ),
    "mnist-unet-small": _named(
        "A preconditioned U-Net on MNIST: half an hour on two CPU cores.", ScoreUNet, training=SMALL_UNET, data="mnist",
        **_UNET,
    ),
    "mnist-unet-labels-small": _named(
        "The same, told each digit's label.", ScoreUNet, training=SMALL_UNET, data="mnist", with_labels=True, **_UNET
    ),
}  # fmt: skip
