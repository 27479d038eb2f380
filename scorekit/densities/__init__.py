r"""Densities whose score, log density and draws are known in closed form, most of them at every noise level.

They are target families (so every sampler runs on them), the truth that estimators are tested against, and toy data.

- `Gaussian`, `GaussianMixture`, and two mixtures of the NCSN paper (`toy_mixture`, `fig3_mixture`): the convolution
  with N(0, sigma^2 I) of N(mu, S) is N(mu, S + sigma^2 I); that of a mixture is the mixture of its convolved parts.
- `Ring`, `Box`, `Checkerboard`, `TwoMoons`, `Empirical` (given points): exact at every sigma too.
- `Banana`, `Funnel`, `LogGamma`, `Exponential`: density and score at sigma = 0 only, draws at every sigma.
"""

from scorekit._numbers import Numbers, as_numbers
from scorekit.densities.base import CleanDensity, CleanDraws, Density, Sigma
from scorekit.densities.boxes import Box, Checkerboard
from scorekit.densities.curved import Banana, Funnel
from scorekit.densities.empirical import Empirical
from scorekit.densities.gamma import Exponential, LogGamma
from scorekit.densities.gaussian import Gaussian
from scorekit.densities.mixture import GaussianMixture
from scorekit.densities.ring import Ring
from scorekit.densities.toys import TwoMoons, fig3_mixture, toy_mixture

__all__ = [
    "Banana", "Box", "Checkerboard", "CleanDensity", "CleanDraws", "Density", "Empirical", "Exponential", "Funnel",
    "Gaussian", "GaussianMixture", "LogGamma", "Numbers", "Ring", "Sigma", "TwoMoons", "as_numbers", "fig3_mixture",
    "toy_mixture",
]  # fmt: skip
