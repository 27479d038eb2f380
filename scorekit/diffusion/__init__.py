r"""Diffusion models: their networks as families, and their objective as a weight of denoising score matching.

**Two coordinates.** A diffusion model (Ho et al., arXiv 2006.11239) keeps the variance, scorekit lets it explode. With
a^2 = abar_t, b^2 = 1 - abar_t,

    x_t = a x0 + b eps,        x = x_t / a = x0 + sigma eps,        sigma = b / a,        a = 1 / sqrt(1 + sigma^2).

1 / sigma^2 is the signal-to-noise ratio of both.

Networks that predict the noise, the clean data, the velocity or the score are families (`from_variance_preserving`,
`from_noise_prediction`). Their two objectives are denoising score matching with a weight: the evidence lower bound
(`ELBOWeight`), and the mean square of the error of the noise (`simple_weight`), which is twice NCSN's.
"""

from scorekit.diffusion.objectives import ELBOWeight, simple_weight
from scorekit.diffusion.predictions import (
    NoisePredictionFunction,
    Prediction,
    VariancePreservingFunction,
    from_noise_prediction,
    from_variance_preserving,
    variance_preserving_levels,
)

__all__ = [
    "ELBOWeight", "NoisePredictionFunction", "Prediction", "VariancePreservingFunction", "from_noise_prediction",
    "from_variance_preserving", "simple_weight", "variance_preserving_levels",
]  # fmt: skip
