"""Hostile and damaged archives: each is refused with the file's name, and nothing appears on disk."""

import gzip
import io
import random
import tarfile
import zlib

import pytest

from scorekit.data import archive as archives
from scorekit.data.archive import read_members
from scorekit.data.errors import DataError

from .makers import member, tar_bytes, tree

WANTED = {"a.bin": 100, "b.bin": 50}
GOOD = [member("folder", type=tarfile.DIRTYPE), member("folder/a.bin", b"a" * 100), member("folder/b.bin", b"b" * 50)]
EXTRA = member("folder/readme.html", b"hello")


def archive(tmp_path, members, name="data.tar.gz", compress=True):
    path = tmp_path / name
    path.write_bytes(tar_bytes(members, compress))
    return path


@pytest.mark.parametrize("compress", [True, False])
def test_known_members_are_read(tmp_path, compress):
    path = archive(tmp_path, [EXTRA, *GOOD], compress=compress)
    assert read_members(path, WANTED) == {"a.bin": b"a" * 100, "b.bin": b"b" * 50}
    assert list(tree(tmp_path)) == ["data.tar.gz"]


HOSTILE = {
    "absolute path": (member("/escaped.bin", b"x"), "path that leaves it"),
    "windows drive": (member("C:\\escaped.bin", b"x"), "path that leaves it"),
    "windows root": (member("\\escaped.bin", b"x"), "path that leaves it"),
    "parent": (member("../escaped.bin", b"x"), "path that leaves it"),
    "parent inside": (member("folder/../../escaped.bin", b"x"), "path that leaves it"),
    "windows parent": (member("folder\\..\\..\\escaped.bin", b"x"), "path that leaves it"),
    "symbolic link": (member("folder/a.bin", type=tarfile.SYMTYPE, linkname="/elsewhere"), "link or a device"),
    "hard link": (member("folder/a.bin", type=tarfile.LNKTYPE, linkname="../../elsewhere"), "link or a device"),
    "device": (member("folder/zero", type=tarfile.CHRTYPE, devmajor=1, devminor=5), "link or a device"),
    "fifo": (member("folder/pipe", type=tarfile.FIFOTYPE), "link or a device"),
    "second of a name": (member("other/a.bin", b"c" * 100), "a second one"),
}


@pytest.mark.parametrize("position", [0, 3])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_member_condemns_the_archive(tmp_path, case, position):
    """Its twin without that member is read by the test above."""
    inside = tmp_path / "deep" / "er"
    inside.mkdir(parents=True)
    hostile, message = HOSTILE[case]
    members = [*GOOD[:position], hostile, *GOOD[position:]]
    path = archive(inside, members)
    with pytest.raises(DataError, match=message) as caught:
        read_members(path, WANTED)
    assert str(path) in str(caught.value)
    assert list(tree(tmp_path)) == ["deep/er/data.tar.gz"]


@pytest.mark.parametrize("size", [0, 49, 51, 10_000_000])
def test_a_member_of_another_size(tmp_path, size):
    path = archive(tmp_path, [*GOOD[:2], member("folder/b.bin", b"b" * size)])
    with pytest.raises(
        DataError, match=rf"data\.tar\.gz, member 'folder/b\.bin': expected 50 bytes; found {size} bytes"
    ):
        read_members(path, WANTED)


def test_missing_members_are_listed(tmp_path):
    path = archive(tmp_path, GOOD[:2])
    with pytest.raises(DataError, match=r"data\.tar\.gz: expected the members a\.bin, b\.bin; found no b\.bin"):
        read_members(path, WANTED)


def test_too_many_members(tmp_path):
    path = archive(tmp_path, [*GOOD, *(member(f"folder/{i}") for i in range(1_000))])
    with pytest.raises(DataError, match="at most 1000 members"):
        read_members(path, WANTED)


def test_a_gzip_bomb_is_cut_off(tmp_path):
    """20 MB from 20 kB, in a member nobody asked for."""
    path = archive(tmp_path, [member("folder/bomb", bytes(20_000_000)), *GOOD])
    assert path.stat().st_size < 50_000
    with pytest.raises(DataError, match="at most 1000000 bytes when decompressed"):
        read_members(path, WANTED, max_bytes=1_000_000)
    assert read_members(path, WANTED) == read_members(archive(tmp_path, GOOD, "good.tar.gz"), WANTED)


def test_a_huge_header_is_cut_off(tmp_path):
    """A pax header is read whole by tarfile, whatever size it declares."""
    info, content = member("folder/c.bin", b"c", pax_headers={"comment": "x" * 5_000_000})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(content))
    path = tmp_path / "data.tar.gz"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="at most 1000000 bytes when decompressed"):
        read_members(path, WANTED, max_bytes=1_000_000)


@pytest.mark.parametrize("compress", [True, False])
def test_every_truncation_is_refused(tmp_path, compress):
    """Cuts before the last member's end; behind it tar has only padding, and the data are all there."""
    whole = tar_bytes(GOOD, compress)
    last = len(whole) - 1 if compress else whole.rindex(b"b" * 50) + 49
    cuts = random.Random(zlib.crc32(b"truncation")).sample(range(1, last), 40)
    path = tmp_path / "data.tar.gz"
    for cut in [*cuts, 0, last]:
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"data\.tar\.gz"):
            read_members(path, WANTED)


def outcomes_of_flipped_bits(path) -> dict[str, int]:
    """Every seventh bit behind gzip's header (whose time and system change nothing) flipped in turn."""
    expected = {name: random.Random(name).randbytes(size) for name, size in WANTED.items()}
    whole = tar_bytes([member(name, content) for name, content in expected.items()])
    counts = {"refused": 0, "harmless": 0, "silently wrong": 0}
    for bit in range(80, 8 * len(whole), 7):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            counts["harmless" if read_members(path, WANTED) == expected else "silently wrong"] += 1
        except DataError:
            counts["refused"] += 1
    return counts


def test_flipped_bits(tmp_path, monkeypatch):
    """gzip's checksum stands behind the last byte. A reader that stops where tar ends (the mutant) never gets there."""
    counts = outcomes_of_flipped_bits(tmp_path / "data.tar.gz")
    assert counts["silently wrong"] == 0
    assert counts["harmless"] < 0.05 * sum(counts.values())  # padding bits of the compressed stream
    monkeypatch.setattr(archives, "_BLOCK_BYTES", 0)
    assert outcomes_of_flipped_bits(tmp_path / "data.tar.gz")["silently wrong"] > 50


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive at all" * 100, gzip.compress(b"no archive inside" * 100)],
    ids=["empty", "text", "compressed text"],
)
def test_something_else_is_refused(tmp_path, content):
    path = tmp_path / "data.tar.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.tar\.gz: expected"):
        read_members(path, WANTED)


def test_a_missing_archive(tmp_path):
    with pytest.raises(DataError, match=r"none\.tar\.gz: expected a file; found nothing there"):
        read_members(tmp_path / "none.tar.gz", WANTED)
