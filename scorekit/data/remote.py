"""Downloading the public data sets: verified before a file gets its name.

pooch streams into a temporary file beside the target, compares its MD5 with the published one, and only then renames
it: a download is under its final name whole or not at all. A file already there is verified again and replaced if
damaged. On an error or Ctrl-C the temporary file is removed; what a killed process left is swept by the next download,
a day later at the earliest.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, final

from scorekit.data.errors import DataError, mismatch

if TYPE_CHECKING:
    from tqdm.auto import tqdm

_DAY = 86_400.0
_CHUNK_BYTES = 2**16
_TIMEOUT = 30.0  # seconds without a byte


@final
@dataclass(frozen=True)
class Remote:
    """A public data set.

    Args:
        mirrors: base URLs, tried in order.
        files: file name -> published MD5, in hexadecimal.
    """

    mirrors: tuple[str, ...]
    files: dict[str, str]


REMOTES = {
    "cifar10": Remote(
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
        files={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
    "mnist": Remote(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        files={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
}


def download(
    name: str, *, cache_dir: str | Path | None = None, base_url: str | None = None, progress: bool = True
) -> Path:
    """The folder `cache_dir/name` with all files of the data set, downloaded and verified.

    Args:
        name: "cifar10" or "mnist".
        cache_dir: where downloads are kept; None for the user's cache folder.
        base_url: a mirror to use instead of the public ones.
        progress: show a progress bar; none appears where standard error is no terminal.

    Raises:
        ImportError: without pooch.
        ValueError: for another name.
        DataError: if no mirror gives a file with the published MD5; it names each URL with what went wrong.
    """
    remote = _remote(name)
    folder = cache_folder(name, cache_dir)
    _sweep(folder)
    mirrors = remote.mirrors if base_url is None else (base_url,)
    for file, md5 in remote.files.items():
        fetch([f"{mirror.rstrip('/')}/{file}" for mirror in mirrors], folder / file, md5, progress=progress)
    return folder


def cached(name: str, *, cache_dir: str | Path | None = None) -> Path:
    """The folder of an earlier `download`, without any connection.

    Raises:
        ValueError: for another name.
        DataError: if a file is not there.
    """
    remote = _remote(name)
    folder = cache_folder(name, cache_dir)
    missing = [file for file in remote.files if not (folder / file).is_file()]
    if missing:
        wanted = f"{', '.join(missing)} from an earlier download"
        raise mismatch(folder, wanted, "nothing of that name; download=True fetches it")
    return folder


def cache_folder(name: str, cache_dir: str | Path | None) -> Path:
    """Where the files of data set `name` are kept."""
    return (Path(cache_dir) if cache_dir is not None else _pooch().os_cache("scorekit")) / name


def fetch(urls: list[str], path: Path, md5: str, *, progress: bool) -> None:
    """Have the file with this MD5 at `path`, from the first of `urls` that gives it."""
    pooch = _pooch()
    from requests.exceptions import RequestException  # comes with pooch

    failures = []
    for url in urls:
        try:
            with _bar(path.name, progress) as bar:
                downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT)
                pooch.retrieve(url, known_hash=f"md5:{md5}", fname=path.name, path=path.parent, downloader=downloader)
            return
        except (RequestException, ValueError) as error:  # no connection, HTTP status, broken transfer; another MD5
            failures.append(f"{url}: {error}")
    raise DataError(f"{path}: expected a download with the MD5 {md5}; nothing was kept of " + "; ".join(failures))


def _bar(name: str, progress: bool) -> "tqdm":
    from tqdm.auto import tqdm

    # total: pooch sets it, but first asks whether the bar is true, which tqdm cannot say without one
    # disable: None means that no bar is shown where standard error is no terminal
    return tqdm(desc=name, unit="B", unit_scale=True, total=1, disable=None if progress else True)


def _remote(name: str) -> Remote:
    if name not in REMOTES:
        raise ValueError(f"download({name!r}): the data sets that can be downloaded are {', '.join(REMOTES)}")
    return REMOTES[name]


def _pooch() -> ModuleType:
    try:
        import pooch
    except ImportError as error:
        raise ImportError("downloads need pooch: pip install 'scorekit[data]'") from error
    return pooch


def _sweep(folder: Path) -> None:
    """Remove temporary files that have not been written for a day; a younger one may belong to another process."""
    for stale in folder.glob("tmp*"):
        if stale.stat().st_mtime < time.time() - _DAY:
            stale.unlink(missing_ok=True)
