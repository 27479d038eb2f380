"""The embedded pictures: 1,797 real handwritten digits, 8 x 8, grey levels 0..16, that come with scikit-learn."""

import torch

from scorekit.data.files import require_split
from scorekit.data.images import Images
from scorekit.data.images import split as split_images

NUM_TEST = 297


def digits(split: str | None = None) -> Images:
    """The digits; no download, no file.

    Args:
        split: None for all 1,797, "train" for 1,500 or "test" for the other 297, drawn once with a fixed seed (the file
            is ordered by writer, so its last rows would be other hands, not a fair test).

    Raises:
        ImportError: without scikit-learn.
        ValueError: for another split.
    """
    if split is not None:
        require_split(split, ("train", "test"), "the set of digits")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the embedded digits come with scikit-learn: pip install 'scorekit[data]'") from error
    data, target = load_digits(return_X_y=True)
    images = Images(
        torch.from_numpy(data).to(torch.uint8).reshape(-1, 1, 8, 8),
        levels=17,
        labels=torch.from_numpy(target).long(),
        classes=tuple("0123456789"),
        name="digits" if split is None else f"digits-{split}",
        source="E. Alpaydin, C. Kaynak, Optical recognition of handwritten digits, UCI, 1998 (from scikit-learn)",
        license="CC BY 4.0",
    )
    if split is None:
        return images
    train, test = split_images(images, NUM_TEST, seed=0)
    return {"train": train, "test": test}[split]
