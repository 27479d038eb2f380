"""Downloads from a server on the loopback: whole, truncated, damaged, refused, interrupted."""

import hashlib
import logging
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scorekit.data import DataError, download, open_images, remote
from scorekit.data.remote import Remote, cached, fetch

from .makers import mnist_files, tree

CONTENT = bytes(range(256)) * 1_000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` whole, cut off in the middle, or not at all, as the first part of the path says."""

    def do_GET(self):
        self.server.requests.append(self.path)
        kind, name = self.path.strip("/").split("/")
        content = self.server.files.get(name)
        if content is None or kind == "refused":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if kind == "whole" else content[: len(content) // 2])

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture
def server(monkeypatch, caplog):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.WARNING, logger="pooch")  # its handler may hold a standard error that pytest has closed
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.requests = {"data.bin": CONTENT}, []
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_whole_file(tmp_path, server, capfd):
    fetch([f"{server.url}/whole/data.bin"], tmp_path / "cache" / "data.bin", MD5, progress=True)
    assert tree(tmp_path) == {"cache/data.bin": CONTENT}
    assert "%|" not in capfd.readouterr().err  # no bar where standard error is no terminal
    fetch([f"{server.url}/whole/data.bin"], tmp_path / "cache" / "data.bin", MD5, progress=True)
    assert len(server.requests) == 1  # what is there and right is not fetched again


@pytest.fixture
def on_chunk(monkeypatch):
    """Call something after each chunk that has been written, in the place of the progress bar's count."""
    bar = remote._bar

    def install(callback):
        def watched(name, progress):
            made = bar(name, progress)
            made.update = lambda count: callback(made)
            return made

        monkeypatch.setattr(remote, "_bar", watched)

    return install


def test_the_progress_bar_knows_the_length(tmp_path, server, on_chunk):
    totals = []
    on_chunk(lambda bar: totals.append(bar.total))
    fetch([f"{server.url}/whole/data.bin"], tmp_path / "data.bin", MD5, progress=True)
    assert len(totals) > 3
    assert set(totals) == {len(CONTENT)}


def test_an_interrupted_download_leaves_nothing(tmp_path, server, on_chunk):
    """Ctrl-C after the second chunk: until then the bytes are under another name, afterwards nowhere."""
    seen = []

    def interrupt(bar):
        seen.append(tree(tmp_path))
        if len(seen) == 2:
            raise KeyboardInterrupt

    on_chunk(interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch([f"{server.url}/whole/data.bin"], tmp_path / "data.bin", MD5, progress=False)
    ((name, half),) = seen[1].items()
    assert name.startswith("tmp")
    assert CONTENT.startswith(half)
    assert 0 < len(half) < len(CONTENT)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("kind", "md5", "message"),
    [
        ("truncated", MD5, "IncompleteRead|128000"),
        ("whole", "0" * 32, f"expected md5:{'0' * 32} but got {MD5}"),
        ("refused", MD5, "404"),
    ],
)
def test_a_bad_download_leaves_nothing(tmp_path, server, kind, md5, message):
    url = f"{server.url}/{kind}/data.bin"
    with pytest.raises(DataError, match=message) as caught:
        fetch([url], tmp_path / "data.bin", md5, progress=False)
    assert url in str(caught.value)
    assert md5 in str(caught.value)
    assert tree(tmp_path) == {}


def test_no_server(tmp_path, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"data\.bin: expected a download.*refused|NewConnectionError"):
        fetch([f"{server.url}/whole/data.bin"], tmp_path / "data.bin", MD5, progress=False)
    assert tree(tmp_path) == {}


def test_the_next_mirror_is_tried(tmp_path, server):
    urls = [f"{server.url}/{kind}/data.bin" for kind in ("refused", "truncated", "whole")]
    fetch(urls, tmp_path / "data.bin", MD5, progress=False)
    assert tree(tmp_path) == {"data.bin": CONTENT}
    with pytest.raises(DataError) as caught:
        fetch(urls[:2], tmp_path / "other.bin", MD5, progress=False)
    assert all(url in str(caught.value) for url in urls[:2])


def test_a_damaged_file_in_the_cache_is_replaced(tmp_path, server):
    path = tmp_path / "data.bin"
    path.write_bytes(CONTENT[:-1] + b"x")
    fetch([f"{server.url}/whole/data.bin"], path, MD5, progress=False)
    assert path.read_bytes() == CONTENT


@pytest.fixture
def small_mnist(monkeypatch, generator, server):
    contents = mnist_files(generator)
    md5s = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setitem(remote.REMOTES, "mnist", Remote((f"{server.url}/whole/",), md5s))
    server.files = contents
    return contents


def test_a_data_set_by_name(tmp_path, small_mnist, server):
    images = open_images("mnist", "test", cache_dir=tmp_path)
    assert images.name == "mnist-test"
    assert len(images) == 3
    assert tree(tmp_path) == {f"mnist/{name}": content for name, content in small_mnist.items()}
    assert len(open_images("mnist", cache_dir=tmp_path, download=False)) == 7
    assert len(open_images("mnist", cache_dir=tmp_path)) == 7
    assert len(server.requests) == 4


def test_a_mirror_of_ones_own(tmp_path, small_mnist, server, monkeypatch):
    monkeypatch.setitem(remote.REMOTES, "mnist", Remote(("http://127.0.0.1:9/",), remote.REMOTES["mnist"].files))
    assert len(open_images("mnist", cache_dir=tmp_path, base_url=f"{server.url}/whole")) == 7


def test_without_download_nothing_is_fetched(tmp_path, small_mnist, server):
    with pytest.raises(DataError, match=r"mnist: expected train-images-idx3-ubyte\.gz.*download=True fetches it"):
        open_images("mnist", cache_dir=tmp_path, download=False)
    assert server.requests == []


def test_only_old_leftovers_are_swept(tmp_path, small_mnist, server):
    """A killed process leaves its temporary file; one of today may still be written."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, age in (("tmpold", 90_000), ("tmpnew", 60)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    download("mnist", cache_dir=tmp_path)
    assert not (folder / "tmpold").exists()
    assert (folder / "tmpnew").exists()


def test_other_names(tmp_path):
    for call in (download, cached):
        with pytest.raises(ValueError, match="can be downloaded are cifar10, mnist"):
            call("imagenet", cache_dir=tmp_path)


def test_the_published_checksums_are_md5_over_https():
    for dataset in remote.REMOTES.values():
        assert all(url.startswith("https://") and url.endswith("/") for url in dataset.mirrors)
        assert all(len(md5) == 32 and int(md5, 16) > 0 for md5 in dataset.files.values())
