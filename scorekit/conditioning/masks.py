"""Masks: which coordinates are known, or measured."""

from torch import Tensor

from scorekit._kinds import require_kind


def checked_mask(owner: str, mask: Tensor) -> Tensor:
    """A mask of any type as booleans.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if it has a value but 0 and 1.
    """
    require_kind(owner, Tensor, "of the event's shape", mask=mask)
    wrong = mask[(mask != 0) & (mask != 1)]
    if len(wrong):
        raise ValueError(
            f"{owner}: the mask has the value {wrong[0].item():g}: expected True or 1 where x is known, else False or 0"
        )
    return mask.bool()
