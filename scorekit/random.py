r"""The only place that draws random numbers.

Every drawing function takes the keyword `generator`:

- `None`: torch's global generator of the tensor's device;
- a `torch.Generator`: sequential, the global state is left alone;
- a `PerChain`: counter-based, one stream for each row of the batch axis.

**PerChain.** Bits are `threefry(key_i, (coordinate, draw))` with key_i = threefry(key, chain i), where `threefry` is
Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Chain i
therefore depends neither on its neighbours nor on the batch size nor on how a batch is cut into chunks or spread
over processes. One call of threefry gives two 32-bit words: one uniform (53 bits in float64, 24 in float32) or, by
Box and Muller, the pair

    r cos(2 pi v), r sin(2 pi v)      r = sqrt(-2 log u),  u in (0, 1] with 31 bits,  v in [0, 1) with 32 bits,

so that the same seed gives the same normal draws in float32 and float64, to rounding.
"""

import zlib
from typing import TypeAlias, final

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_PARITY = 0x1BD11BDA
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(key: tuple, counter: tuple) -> tuple:
    """Threefry-2x32-20: two 32-bit words from two key words and two counter words.

    The words are Python ints or int64 tensors that broadcast, each in [0, 2^32); so are the results. int64 because
    then one code serves both and no sum overflows: the carries above bit 31 are masked off once a round.
    """
    k0, k1 = key
    keys = (k0, k1, k0 ^ k1 ^ _PARITY)
    a, b = counter[0] + k0, (counter[1] + k1) & _MASK
    for block in range(5):
        for shift in _ROTATIONS[block % 2]:
            a = a + b
            b = ((b << shift | b >> (32 - shift)) ^ a) & _MASK
        a = a + keys[(block + 1) % 3]
        b = (b + keys[(block + 2) % 3] + block + 1) & _MASK
    return a & _MASK, b


@final
class PerChain:
    """A counter-based generator with one stream for each chain (each row of the batch axis).

    Two draws from one object differ (it counts its draws); `fork` gives a new object that depends on the seed and
    the label only, however much its parent has drawn. Samplers draw from forks alone, so the same `PerChain` given
    to `sample` twice gives the same chains twice: for new chains use another seed, or `shift`.

    Args:
        seed: an integer in [0, 2^63).
        first: the number of the chain in row 0; row i draws the stream of chain `first + i`.

    Raises:
        TypeError: if `seed` or `first` is not an integer.
        ValueError: if `seed` or `first` is out of range.
    """

    def __init__(self, seed: int, *, first: int = 0):
        if not isinstance(seed, int) or not isinstance(first, int):
            raise TypeError(f"PerChain(seed={seed!r}, first={first!r}): expected integers")
        if not 0 <= seed < 2**63:
            raise ValueError(f"PerChain(seed={seed}): the seed must lie in [0, 2^63)")
        if not 0 <= first < 2**32:
            raise ValueError(f"PerChain(first={first}): the first chain's number must lie in [0, 2^32)")
        self.seed, self.first = seed, first
        self._key: tuple[int, int] = (seed & _MASK, seed >> 32)
        self._path: tuple[int | str, ...] = ()
        self._draws = 0

    def __repr__(self) -> str:
        path = "".join(f".fork({label!r})" for label in self._path)
        return f"PerChain({self.seed}, first={self.first}){path}"

    def fork(self, label: int | str) -> "PerChain":
        """The independent generator named `label` (a string or an integer in [0, 2^32)) below this one."""
        word = (zlib.crc32(label.encode()), 1) if isinstance(label, str) else (_checked_label(label), 2)
        return self._with(threefry(self._key, word), (*self._path, label), self.first)

    def shift(self, offset: int) -> "PerChain":
        """The same streams for the chains that start `offset` rows further on: what a chunk of a batch, or a
        process, draws."""
        return self._with(self._key, self._path, self.first + offset)

    def _with(self, key: tuple[int, int], path: tuple[int | str, ...], first: int) -> "PerChain":
        other = PerChain(self.seed, first=first)
        other._key, other._path = key, path
        return other

    def bits(self, num_chains: int, num_counters: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The next draw: two int64 tensors of 32-bit words, each (num_chains, num_counters)."""
        draw, self._draws = self._draws, self._draws + 1
        chains = torch.arange(self.first, self.first + num_chains, device=device).unsqueeze(1)
        counters = torch.arange(num_counters, device=device)
        return threefry(threefry(self._key, (chains, chains.new_zeros(()))), (counters, draw))

    def uniform(self, like: Tensor) -> Tensor:
        """Uniform on [0, 1), shaped like `like` (B, *E)."""
        count = like.shape[1:].numel()
        high, low = self.bits(like.shape[0], count, like.device)
        if like.dtype == torch.float64:
            unit = (((high << 21) | (low >> 11)).to(torch.float64)) * 2.0**-53
        else:
            digits = 24 - _LOST_DIGITS.get(like.dtype, 0)
            unit = ((high >> (32 - digits)).to(torch.float32) * 2.0**-digits).to(like.dtype)
        return unit.reshape(like.shape)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, shaped like `like` (B, *E)."""
        count = like.shape[1:].numel()
        high, low = self.bits(like.shape[0], (count + 1) // 2, like.device)
        work = torch.float64 if like.dtype == torch.float64 else torch.float32
        radius = (((high >> 1).to(work) + 0.5) * 2.0**-31).log_().mul_(-2).clamp_(min=0).sqrt_()
        angle = low.to(work).mul_(2 * torch.pi * 2.0**-32)
        pair = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)
        return pair.flatten(1)[:, :count].reshape(like.shape).to(like.dtype)


_LOST_DIGITS = {
    torch.float16: 13,
    torch.bfloat16: 16,
}  # significand digits short of float32's 24: no draw may round up to 1

Generator: TypeAlias = torch.Generator | PerChain | None


def _checked_label(label: int) -> int:
    if not 0 <= label <= _MASK:
        raise ValueError(f"fork({label}): an integer label must lie in [0, 2^32)")
    return label


def _checked(generator: torch.Generator | None) -> torch.Generator | None:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator={generator!r}: expected None, a torch.Generator or a PerChain")
    return generator


def fork(generator: Generator, label: int | str) -> Generator:
    """The independent stream `label` of a `PerChain`; a `torch.Generator` or None comes back as it is (its draws are
    sequential).

    Raises:
        TypeError: if the generator is something else.
        ValueError: if the label is an integer outside [0, 2^32).
    """
    return generator.fork(label) if isinstance(generator, PerChain) else _checked(generator)


def shift(generator: Generator, offset: int) -> Generator:
    """The streams of the chains `offset` rows further on; a `torch.Generator` or None comes back as it is.

    Raises:
        TypeError: if the generator is something else.
    """
    return generator.shift(offset) if isinstance(generator, PerChain) else _checked(generator)


def normal(like: Tensor, *, generator: Generator = None) -> Tensor:
    """Standard normal draws with the shape, dtype and device of `like` (B, *E)."""
    if isinstance(generator, PerChain):
        return generator.normal(like)
    return torch.empty_like(like).normal_(generator=_checked(generator))


def uniform(like: Tensor, *, generator: Generator = None) -> Tensor:
    """Uniform draws on [0, 1) with the shape, dtype and device of `like` (B, *E)."""
    if isinstance(generator, PerChain):
        return generator.uniform(like)
    return torch.empty_like(like).uniform_(generator=_checked(generator))


def rademacher(like: Tensor, *, generator: Generator = None) -> Tensor:
    """Draws of -1 and +1 with probability 1/2 each, with the shape, dtype and device of `like` (B, *E)."""
    return torch.where(uniform(like, generator=generator) < 0.5, -1.0, 1.0).to(like.dtype)
