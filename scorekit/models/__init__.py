r"""Score models: the parametrisations of s(x, sigma) by a network f, and target families made of a function.

    DirectScore     s(x, sigma) = f(x, sigma)               NCSN (Song and Ermon, arXiv 1907.05600)
    ScaledScore     s(x, sigma) = f(x, sigma) / sigma       NCSNv2, technique 3 (arXiv 2006.09011); sigma > 0
    RoundToLevels   s(x, sigma) = s(x, sigma_i)             sigma_i the nearest level the model was made for
    ScoreOnly       the same score, without the log density

A network is an `nn.Module` called as f(x, sigma), or f(x, sigma, condition), with sigma (B,) and never an index. A
network that is valid at a table of levels only keeps it in a buffer `noise_levels` (L,); for a network that does
not, name its schedule to the wrapper.
"""

from scorekit.models.functions import FunctionFamily, Moments, ScoreFunction, from_score, function_arguments
from scorekit.models.networks import DirectScore, NetworkModel, NetworkScore, ScaledScore
from scorekit.models.wrappers import RoundToLevels, ScoreOnly

__all__ = [
    "DirectScore", "FunctionFamily", "Moments", "NetworkModel", "NetworkScore", "RoundToLevels", "ScaledScore",
    "ScoreFunction", "ScoreOnly", "from_score", "function_arguments",
]  # fmt: skip
