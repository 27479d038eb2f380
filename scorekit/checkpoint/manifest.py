"""The small file `latest.json`: which checkpoints a folder holds, newest first, and the size and SHA-256 of each of
their files.

    {"checkpoints": [{"files": {NAME: {"sha256": ..., "size": ...}, ...}, "folder": "step-2000", "step": 2000}, ...],
     "format": "scorekit-checkpoint", "sha256": ..., "version": 1}

Its own `sha256` is that of the rest in canonical form (keys sorted, no spaces), so that a flipped bit in the record
itself shows too.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from scorekit.checkpoint.errors import CheckpointError
from scorekit.checkpoint.files import FileRecord

NAME = "latest.json"
FORMAT = "scorekit-checkpoint"
VERSION = 1
_MAX_BYTES = 2**24
_FOLDER = re.compile(r"step-\d+(\.\d+)?")
_FILE = re.compile(r"\w[\w-]*\.(safetensors|json)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@final
@dataclass(frozen=True)
class Entry:
    """One complete checkpoint: its folder, its step, and what its files must be."""

    folder: str
    step: int
    files: Mapping[str, FileRecord]


def encode(entries: tuple[Entry, ...]) -> bytes:
    """The content of `latest.json`."""
    document = {"format": FORMAT, "version": VERSION, "checkpoints": [_encode_entry(entry) for entry in entries]}
    return json.dumps(document | {"sha256": _digest(document)}, indent=1, sort_keys=True).encode() + b"\n"


def decode(path: Path) -> tuple[Entry, ...]:
    """The entries of a `latest.json`, newest first.

    Raises:
        CheckpointError: if it is damaged, foreign, or of a newer format.
    """
    try:
        document = read_json(path)
        if document.get("format") != FORMAT:
            raise CheckpointError(f"{path}: expected the format {FORMAT!r}; found {document.get('format')!r}")
        check_version(path, document)
        recorded = document.pop("sha256", None)
        if recorded != _digest(document):
            raise CheckpointError(f"{path}: expected its own SHA-256 {_digest(document)}; found {recorded}")
        return tuple(_decode_entry(entry) for entry in document["checkpoints"])
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: expected a list of checkpoints with folder, step and files; {error!r}"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a small file.

    Raises:
        CheckpointError: if it is too large, not JSON, or not an object.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(f"{path}: expected at most {_MAX_BYTES} bytes; found {path.stat().st_size}")
        return parse_json(path, path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: expected a readable file ({error.strerror})") from error


def parse_json(path: Path, content: bytes) -> dict[str, Any]:
    """The JSON object in `content`; `path` is for the message.

    Raises:
        CheckpointError: if it is not JSON, or not an object.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected JSON; {error}") from error
    if type(document) is not dict:
        raise CheckpointError(f"{path}: expected a JSON object; found {type(document).__name__}")
    return document


def check_version(path: Path, document: Mapping[str, Any]) -> None:
    """Refuse a document of a format that this version does not read."""
    version = document.get("version")
    if type(version) is int and version > VERSION:
        raise CheckpointError(
            f"{path}: it has format version {version}, from a newer scorekit; this one reads version {VERSION}"
        )
    if version != VERSION:
        raise CheckpointError(f"{path}: expected format version {VERSION}; found {version!r}")


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _encode_entry(entry: Entry) -> dict[str, Any]:
    return {
        "folder": entry.folder,
        "step": entry.step,
        "files": {name: record._asdict() for name, record in entry.files.items()},
    }


def _decode_entry(entry: dict) -> Entry:
    folder, step, files = entry["folder"], entry["step"], entry["files"]
    if not _FOLDER.fullmatch(folder) or type(step) is not int or step < 0:
        raise TypeError(f"folder {folder!r}, step {step!r}")
    return Entry(folder, step, {name: _decode_record(name, record) for name, record in files.items()})


def _decode_record(name: str, record: dict) -> FileRecord:
    size, sha256 = record["size"], record["sha256"]
    if not _FILE.fullmatch(name) or type(size) is not int or not _SHA256.fullmatch(sha256):
        raise TypeError(f"file {name!r}: {record!r}")
    return FileRecord(size, sha256)
