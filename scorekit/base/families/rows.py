"""What is the same for all chains, or each chain its own: masks, observations, labels."""

from torch import Tensor


def of_each_chain(what: str, value: Tensor, one: tuple[int, ...], num_chains: int) -> bool:
    """Whether a value is one for each chain, (B, *one), and not of shape `one`, the same for all.

    Raises:
        ValueError: if it is neither; `what` is how the message begins: "the mask".
    """
    if value.shape not in (one, (num_chains, *one)):
        raise ValueError(
            f"{what} of shape {tuple(value.shape)} for {num_chains} chains: expected {tuple(one)}, the same for all, "
            f"or {(num_chains, *one)}, each chain its own"
        )
    return value.ndim > len(one)


def rows_of(what: str, value: Tensor, one: tuple[int, ...], first: int, count: int, num_chains: int) -> Tensor:
    """The rows of a value (B, *one) for some chains; the value itself, where it is of shape `one` or for all of them.

    Raises:
        ValueError: as `of_each_chain`.
    """
    whole = not of_each_chain(what, value, one, num_chains) or count == num_chains
    return value if whole else value[first : first + count]
