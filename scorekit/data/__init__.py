"""Pictures and other examples: readers, download, transforms, and what the training loop reads.

No reader runs pickle, unpacks an archive or writes a file; every one names the file and what was expected of it when
something is wrong.
"""

from scorekit.data.arrays import from_array
from scorekit.data.celeba import read_celeba
from scorekit.data.cifar import read_cifar10
from scorekit.data.embedded import digits
from scorekit.data.errors import DataError
from scorekit.data.folder import read_image_folder
from scorekit.data.images import Images, split
from scorekit.data.mnist import read_idx_images, read_mnist
from scorekit.data.opening import open_images
from scorekit.data.remote import download
from scorekit.data.sources import Indexed, Mapped, Source
from scorekit.data.statistics import moments
from scorekit.data.stream import Stream
from scorekit.data.transforms import Compose, Dequantize, Logit, RandomHorizontalFlip, Rescale, Transform
from scorekit.data.wrapping import as_source

__all__ = [
    "Compose", "DataError", "Dequantize", "Images", "Indexed", "Logit", "Mapped", "RandomHorizontalFlip", "Rescale",
    "Source", "Stream", "Transform", "as_source", "digits", "download", "from_array", "moments", "open_images",
    "read_celeba", "read_cifar10", "read_idx_images", "read_image_folder", "read_mnist", "split",
]  # fmt: skip
