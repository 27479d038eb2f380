r"""The objectives of diffusion models, as weights of denoising score matching.

**The bound.** Below level sigma_t is sigma_(t-1). Both q(x_(t-1) | x_t, x0) and the model, the same with the denoised
D = x + sigma^2 s in the place of x0, are Gaussian; with one variance their divergence is

    KL_t = 1/2 (1 / sigma_(t-1)^2 - 1 / sigma_t^2) |x0 - D|^2                Kingma et al., arXiv 2107.00630
         = w(sigma_t) 1/2 |s + eps / sigma_t|^2,        w(sigma_t) = sigma_t^2 (sigma_t^2 / sigma_(t-1)^2 - 1),

since D - x0 = sigma^2 (s + eps / sigma). The last step, from sigma_1 to the data, is N(x0; D, c^2 I): w(sigma_1) =
sigma_1^4 / c^2. On geometric levels w is sigma^2 up to a factor: NCSN's objective is the bound.
"""

import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit._tensor import lasting_property
from scorekit.base import NoiseSchedule
from scorekit.noise import checked_levels

_TOLERANCE = 1e-4  # relative, as `TargetFamily.require` has it


@final
@dataclass(frozen=True)
class ELBOWeight:
    """The weight under which denoising score matching on a schedule is minus the evidence lower bound, in nats.

        E[loss] = sum over t of w(sigma_t) E 1/2 |s + eps / sigma_t|^2 = -ELBO + C,

    where C depends on the data and the schedule, not on the model. Sohl-Dickstein et al., arXiv 1503.03585; Ho et al.,
    arXiv 2006.11239, eq. 5 to 12.

        noise = variance_preserving_levels(alphas_bar)
        Objective(model, DenoisingScoreMatching(), noise, weight=ELBOWeight(noise))

    Args:
        noise: a schedule that draws its L levels equally often, the smallest of them > 0. The weights have a factor L.
        decoder_std: c, of the last step N(x0; D, c^2 I); None takes DDPM's sqrt(1 - abar_1) = sigma_1 / sqrt(1 +
            sigma_1^2).
        variance: of the model's other steps: the "posterior" variance, that of q(x_(t-1) | x_t, x0), which is the best
            one if all data are one point; or the "forward" one, beta_t, which is the best one if the data are a
            standard normal. The two choices of Ho et al., section 3.2.

    Raises:
        TypeError: if `noise` is no schedule.
        ValueError: if it draws from a continuous law or goes down to 0; unless 0 < decoder_std < inf; if `variance` is
            something else.
    """

    noise: NoiseSchedule
    decoder_std: float | None = None
    variance: Literal["posterior", "forward"] = "posterior"

    def __post_init__(self):
        require_kind("ELBOWeight", NoiseSchedule, noise=self.noise)
        levels = checked_levels(self.noise)
        if self.noise.continuous or levels[-1] <= 0:
            raise ValueError(
                f"ELBOWeight({self.noise}): expected a schedule that draws its levels, all of them > 0, equally often"
            )
        if self.decoder_std is not None and not 0 < self.decoder_std < math.inf:
            raise ValueError(f"ELBOWeight(decoder_std={self.decoder_std}): expected 0 < decoder_std < inf")
        if self.variance not in ("posterior", "forward"):
            raise ValueError(f"ELBOWeight(variance={self.variance!r}): expected 'posterior' or 'forward'")

    @lasting_property
    def weights(self) -> Tensor:
        """The weight of each level, the largest first: (L,), float64."""
        square = self.noise.levels().square()
        above, below, last = square[:-1], square[1:], square[-1:]
        if self.variance == "posterior":
            steps = above * (above / below - 1)
        else:  # beta_t / (alpha_t abar_t)
            steps = (above - below) * (1 + above) / (1 + below)
        decoder = last / (1 + last) if self.decoder_std is None else last.new_tensor([self.decoder_std]).square()
        return len(square) * torch.cat((steps, last.square() / decoder))

    def __call__(self, sigma: Tensor) -> Tensor:
        """The weights (B,) of levels (B,), NaN where sigma is none of the schedule's: an objective refuses that."""
        given = sigma.to(torch.promote_types(sigma.dtype, torch.float32))
        levels, weights = self.noise.levels().flip(0).to(given), self.weights.flip(0).to(given)
        nearest = torch.bucketize(given, (levels[1:] * levels[:-1]).sqrt())
        tolerance = max(_TOLERANCE, torch.finfo(sigma.dtype).eps)
        known = (given / levels[nearest] - 1).abs() <= tolerance
        return torch.where(known, weights[nearest], math.nan)


def simple_weight(sigma: Tensor) -> Tensor:
    """2 sigma^2: denoising score matching is then |eps - eps_theta|^2, the L_simple of Ho et al. (arXiv 2006.11239, eq.
    14), summed over the event. NCSN's objective is half of it."""
    return 2 * sigma.square()
