r"""Linear measurements A of an event: forward, adjoint, and (a I + b A A')^-1 in closed form.

All the operators here have an A A' that is diagonal in a known basis:

    Identity     A x = x                          A A' = I                     denoising
    Mask         A x = m x                        A A' = diag(m)               inpainting of noisy pixels
    Grayscale    A x = sum_c w_c x_c              A A' = |w|^2 I               colourisation
    Downsample   A x = means of f x f blocks      A A' = f^-2 I                super-resolution
    Blur         A x = k * x, circular            A A' = |K|^2 in Fourier's    deblurring
    Matrix       A x = A x                        A A' = U diag(s^2) U'        compressed sensing
"""

import math
from abc import ABC, abstractmethod
from typing import final

import torch
from einops import reduce, repeat
from torch import Tensor

from scorekit._kinds import brief, require_kind
from scorekit.base import wide
from scorekit.conditioning.masks import checked_mask


class LinearOperator(ABC):
    """A linear map from events of shape E to measurements of shape M, row by row, in the type of its argument."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A x: (B, *E) -> (B, *M).

        Raises:
            ValueError: if x has another shape.
        """

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A' y: (B, *M) -> (B, *E), or the flattened event (B, D)."""

    @abstractmethod
    def solve(self, y: Tensor, a: float, b: float) -> Tensor:
        """(a I + b A A')^-1 y: (B, *M) -> (B, *M), a, b >= 0. Where A A' is 0, which is where A x never reaches, it
        is 0."""


@final
class Identity(LinearOperator):
    """x itself."""

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """y."""
        return y

    def solve(self, y: Tensor, a: float, b: float) -> Tensor:
        """y / (a + b)."""
        return y / (a + b)

    def __repr__(self) -> str:
        return "Identity()"


@final
class Mask(LinearOperator):
    """x where the mask is 1, and 0 elsewhere. For coordinates that are known without noise there is `Inpaint`.

    Args:
        mask: 1 or True where x is measured, (*E), of any type.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if it has a value but 0 and 1; when used, for events of another shape.
    """

    def __init__(self, mask: Tensor):
        self._mask = checked_mask("Mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """x on the mask."""
        _require_event(self, x, tuple(self._mask.shape))
        return torch.where(self._mask.to(x.device), x, 0.0)

    def adjoint(self, y: Tensor) -> Tensor:
        """y on the mask."""
        return self.forward(y)

    def solve(self, y: Tensor, a: float, b: float) -> Tensor:
        """y / (a + b) on the mask."""
        return self.forward(y) / (a + b)

    def __repr__(self) -> str:
        return f"Mask({self._mask.double().mean().item():.0%} of {tuple(self._mask.shape)})"


@final
class Grayscale(LinearOperator):
    """The weighted sum of the channels, (C, *S) -> (1, *S).

    Args:
        weights: one for each channel; ITU-R BT.601's luma by default.

    Raises:
        ValueError: if a weight is not finite or all are 0; when used, for another number of channels.
    """

    def __init__(self, weights: tuple[float, ...] = (0.299, 0.587, 0.114)):
        weights = tuple(weights)
        if not (all(map(math.isfinite, weights)) and any(weights)):
            raise ValueError(f"Grayscale(weights={weights}): expected finite numbers, not all of them 0")
        self._weights = weights

    def forward(self, x: Tensor) -> Tensor:
        """sum_c w_c x_c."""
        if x.ndim < 3 or x.shape[1] != len(self._weights):
            raise ValueError(f"{self}: x of shape {tuple(x.shape)}: expected (B, {len(self._weights)}, *S)")
        return torch.tensordot(x, x.new_tensor(self._weights), dims=([1], [0])).unsqueeze(1)

    def adjoint(self, y: Tensor) -> Tensor:
        """w_c y."""
        return torch.cat([weight * y for weight in self._weights], dim=1)

    def solve(self, y: Tensor, a: float, b: float) -> Tensor:
        """y / (a + b |w|^2)."""
        return y / (a + b * math.fsum(weight**2 for weight in self._weights))

    def __repr__(self) -> str:
        return f"Grayscale({self._weights})"


@final
class Downsample(LinearOperator):
    """The means of blocks of f x f pixels, (*, H, W) -> (*, H / f, W / f).

    Args:
        factor: f >= 1.

    Raises:
        ValueError: unless it is an integer >= 1; when used, if H or W is no multiple of it.
    """

    def __init__(self, factor: int):
        if not isinstance(factor, int) or isinstance(factor, bool) or factor < 1:
            raise ValueError(f"Downsample(factor={factor!r}): expected an integer >= 1")
        self._factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """The blocks' means."""
        f = self._factor
        if x.ndim < 3 or x.shape[-1] % f or x.shape[-2] % f:
            raise ValueError(f"{self}: x of shape {tuple(x.shape)}: expected (B, ..., H, W), multiples of {f}")
        return reduce(x, "... (h f) (w g) -> ... h w", "mean", f=f, g=f)

    def adjoint(self, y: Tensor) -> Tensor:
        """y / f^2 for every pixel of a block."""
        return repeat(y / self._factor**2, "... h w -> ... (h f) (w g)", f=self._factor, g=self._factor)

    def solve(self, y: Tensor, a: float, b: float) -> Tensor:
        """y / (a + b / f^2)."""
        return y / (a + b / self._factor**2)

    def __repr__(self) -> str:
        return f"Downsample({self._factor})"


@final
class Blur(LinearOperator):
    """Circular convolution of the last two axes with one kernel for all channels.

    Args:
        kernel: (h, w), both odd; its middle stays in place. A symmetric one, say, that sums to 1.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if it is not floating-point, of another shape, not finite, or all 0; when used, for smaller events.
    """

    def __init__(self, kernel: Tensor):
        require_kind("Blur", Tensor, "(h, w)", kernel=kernel)
        odd = kernel.ndim == 2 and all(size % 2 for size in kernel.shape)
        if not (odd and kernel.is_floating_point() and kernel.isfinite().all() and kernel.any()):
            raise ValueError(
                f"Blur(kernel={brief(kernel)}): of shape {tuple(kernel.shape)}: expected (h, w), both odd, of finite "
                "floating-point numbers, not all 0"
            )
        self._kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        """k * x."""
        return self._filtered(x, self._spectrum(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """The correlation of k and y."""
        return self._filtered(y, self._spectrum(y).conj())

    def solve(self, y: Tensor, a: float, b: float) -> Tensor:
        """Y / (a + b |K|^2), frequency by frequency."""
        return self._filtered(y, _inverse(self._spectrum(y).abs().square(), a, b))

    def _spectrum(self, x: Tensor) -> Tensor:
        """K, the discrete Fourier transform of the kernel around the origin."""
        size = tuple(x.shape[-2:])
        if x.ndim < 3 or any(small > large for small, large in zip(self._kernel.shape, size, strict=True)):
            raise ValueError(f"{self}: x of shape {tuple(x.shape)}: expected (B, ..., H, W) no smaller than the kernel")
        padded = wide(x).new_zeros(size)
        padded[: self._kernel.shape[0], : self._kernel.shape[1]] = self._kernel
        middle = tuple(-(size // 2) for size in self._kernel.shape)
        return torch.fft.rfft2(padded.roll(middle, (0, 1)))

    def _filtered(self, x: Tensor, factors: Tensor) -> Tensor:
        filtered = torch.fft.irfft2(torch.fft.rfft2(wide(x)) * factors, s=tuple(x.shape[-2:]))
        return filtered.to(x.dtype)

    def __repr__(self) -> str:
        return f"Blur({tuple(self._kernel.shape)})"


@final
class Matrix(LinearOperator):
    """A matrix for the flattened event, with one singular value decomposition when it is made, in double precision.

    Args:
        matrix: A, (M, D), D the size of the event.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if it is no floating-point matrix, not finite, or 0; when used, for events of another size.
    """

    def __init__(self, matrix: Tensor):
        require_kind("Matrix", Tensor, "(M, D)", matrix=matrix)
        if not (matrix.ndim == 2 and matrix.is_floating_point() and matrix.isfinite().all() and matrix.any()):
            raise ValueError(
                f"Matrix: of shape {tuple(matrix.shape)} and type {matrix.dtype}: expected (M, D), finite "
                "floating-point numbers, not all 0"
            )
        self._matrix = matrix.double()
        self._basis, singular, _ = torch.linalg.svd(self._matrix, full_matrices=False)
        self._eigenvalues = singular.square()

    def forward(self, x: Tensor) -> Tensor:
        """A x, (B, M)."""
        flat = x.flatten(1)
        if flat.shape[1] != self._matrix.shape[1]:
            raise ValueError(f"{self}: x of shape {tuple(x.shape)}: expected events of {self._matrix.shape[1]} numbers")
        return flat @ self._matrix.to(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        """A' y, (B, D)."""
        return y @ self._matrix.to(y)

    def solve(self, y: Tensor, a: float, b: float) -> Tensor:
        """U (U' y / (a + b s^2))."""
        basis = self._basis.to(y)
        return (y @ basis * _inverse(self._eigenvalues, a, b).to(y)) @ basis.T

    def __repr__(self) -> str:
        return f"Matrix{tuple(self._matrix.shape)}"


def _inverse(eigenvalues: Tensor, a: float, b: float) -> Tensor:
    """1 / (a + b eigenvalue), and 0 for those that are 0 to rounding."""
    reached = eigenvalues > 10 * torch.finfo(eigenvalues.dtype).eps * eigenvalues.max()
    return torch.where(reached, 1 / (a + b * torch.where(reached, eigenvalues, 1.0)), 0.0)


def _require_event(operator: LinearOperator, x: Tensor, event: tuple[int, ...]) -> None:
    if tuple(x.shape[1:]) != event:
        raise ValueError(f"{operator}: x of shape {tuple(x.shape)}: expected events of shape {event}")
