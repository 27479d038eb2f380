r"""Conditioning is composition: families made of others, which every sampler and every kernel takes.

    Inpaint(family, mask, observed)          some coordinates of the clean data are known
    Posterior(family, likelihood)            a noisy measurement of them is: LinearGaussian(A, y, noise_std)
    Guided(family, classifier, label)        their class is, by a classifier of noisy data
    Tempered(family, temperature)            p^(1/T)
    Product(family, family, ...)             p_1 p_2 ...

A model that is told its condition has `model.given(condition)`. They are problems, not configuration: they hold
tensors, and no JSON describes them. Each may be put around any other; constraints hold through all of them.
"""

from scorekit.conditioning.guidance import Guided
from scorekit.conditioning.inpainting import Inpaint
from scorekit.conditioning.operators import (
    Blur,
    Downsample,
    Grayscale,
    Identity,
    LinearOperator,
    Mask,
    Matrix,
)
from scorekit.conditioning.posterior import Likelihood, LinearGaussian, Posterior
from scorekit.conditioning.products import Product, Tempered
from scorekit.conditioning.targets import add, scaled

__all__ = [
    "Blur", "Downsample", "Grayscale", "Guided", "Identity", "Inpaint", "Likelihood", "LinearGaussian",
    "LinearOperator", "Mask", "Matrix", "Posterior", "Product", "Tempered", "add", "scaled",
]  # fmt: skip
