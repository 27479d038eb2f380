"""A folder of checkpoints that is never without a good one.

    FOLDER/latest.json      names the checkpoints, newest first, with the size and SHA-256 of each of their files;
                            the only file that is ever replaced
    FOLDER/step-2000/...    the newest; step-1000/ the one before; older ones only where asked for

Writing: the files go to `tmp-step-N/`, each flushed (fsync), then the folder; it gets its name `step-N`; only then is
`latest.json` replaced, atomically, and its folder flushed; only then are older checkpoints removed. Whatever stops
this half-way, `latest.json` names complete checkpoints only. Reading: every file is verified before any is parsed.
"""

import os
import warnings
from collections.abc import Container, Mapping
from pathlib import Path
from typing import NamedTuple, final

from scorekit.checkpoint import manifest
from scorekit.checkpoint.errors import CheckpointError, DamagedCheckpointWarning
from scorekit.checkpoint.files import FileRecord, read_file, remove, sync_folder, write_file
from scorekit.checkpoint.manifest import Entry

_SCRATCH = "tmp-"


class Contents(NamedTuple):
    """A checkpoint that was read: where from, and the verified bytes of its files."""

    path: Path
    step: int
    files: dict[str, bytes]


@final
class CheckpointStore:
    """The checkpoints in one folder. One process writes; any number may read.

    Args:
        folder: where they are, or will be; it is made by the first write.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"CheckpointStore({str(self.folder)!r})"

    def entries(self) -> tuple[Entry, ...]:
        """The complete checkpoints, newest first; () if the folder holds none.

        Raises:
            CheckpointError: if `latest.json` is damaged, or is missing beside `step-N` folders: a run that took such a
                folder for an empty one would silently start afresh.
        """
        latest = self.folder / manifest.NAME
        if latest.exists():
            return manifest.decode(latest)
        strays = sorted(path.name for path in self.folder.glob("step-*"))
        if strays:
            raise CheckpointError(
                f"{self.folder}: expected {manifest.NAME}; found {', '.join(strays[:3])} without it. No "
                "checkpoint can be verified; where the file is lost for good, the safetensors files can still be read"
            )
        return ()

    def read(self, step: int | None = None, *, wanted: Container[str] | None = None) -> Contents:
        """The newest checkpoint, or that of one step.

        Args:
            step: None for the newest; if that one is damaged, the newest good one, with a `DamagedCheckpointWarning`
                that names both.
            wanted: the files whose bytes to keep (all are verified); None for all.

        Raises:
            CheckpointError: if there is none, or if none is good, with what is wrong with each.
        """
        entries = self.entries()
        if not entries:
            below = self.folder / "checkpoint"
            hint = f"; did you mean {below}?" if (below / manifest.NAME).exists() else ""
            raise CheckpointError(
                f"{self.folder}: expected a checkpoint ({manifest.NAME} and step-N folders); found none{hint}"
            )
        faults: list[str] = []
        for entry in _of_step(self.folder, entries, step):
            try:
                contents = self._verified(entry, wanted)
            except CheckpointError as error:
                faults.append(str(error))
                continue
            if faults:
                warnings.warn(
                    f"damaged: {'; '.join(faults)}. Using {contents.path} instead",
                    DamagedCheckpointWarning,
                    stacklevel=3,
                )
            return contents
        raise CheckpointError(f"{self.folder}: expected a good checkpoint; {'; '.join(faults)}")

    def write(
        self, step: int, files: Mapping[str, bytes], *, keep_last: int = 2, keep_every: int | None = None
    ) -> Path:
        """Add the checkpoint of one step, then remove those that are not kept.

        Checkpoints of this and of later steps that are there already belong to a course that was given up; they go too.

        Args:
            step: the step number, >= 0.
            files: name -> content.
            keep_last: how many of the newest to keep, >= 1.
            keep_every: keep those of the multiples of this step number as well.

        Returns:
            The new checkpoint's folder.
        """
        before = self.entries()
        self._begin()
        name = _free_name(step, before)
        scratch, home = self.folder / (_SCRATCH + name), self.folder / name
        try:
            remove(home)  # unlisted: what a kill between the rename and the replacement below left
            records = _write_files(scratch, files)
            os.rename(scratch, home)
            sync_folder(self.folder)
            course = (Entry(name, step, records), *(entry for entry in before if entry.step < step))
            kept = tuple(
                entry for place, entry in enumerate(course) if place < keep_last or _due(entry.step, keep_every)
            )
            self._prepare(kept)
        except BaseException:
            for path in (scratch, home, self._scratch_latest):
                remove(path)
            raise
        self._replace()
        self._remove({entry.folder for entry in (*course, *before)} - {entry.folder for entry in kept})
        return home

    @property
    def _scratch_latest(self) -> Path:
        return self.folder / (_SCRATCH + manifest.NAME)

    def _begin(self) -> None:
        """Make the folder, with a record of no checkpoint: one without a record would be taken for damaged."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sweep()
        if not (self.folder / manifest.NAME).exists():
            self._prepare(())
            self._replace()

    def _prepare(self, entries: tuple[Entry, ...]) -> None:
        write_file(self._scratch_latest, manifest.encode(entries))

    def _replace(self) -> None:
        os.replace(self._scratch_latest, self.folder / manifest.NAME)
        sync_folder(self.folder)

    def sweep(self) -> None:
        """Remove what interrupted writes and removals left."""
        for path in self.folder.glob(_SCRATCH + "*"):
            remove(path)

    def _verified(self, entry: Entry, wanted: Container[str] | None) -> Contents:
        path = self.folder / entry.folder
        files: dict[str, bytes] = {}
        for name, record in entry.files.items():
            content = read_file(path / name, record)
            if wanted is None or name in wanted:
                files[name] = content
        return Contents(path, entry.step, files)

    def _remove(self, folders: set[str]) -> None:
        """Each is renamed first, so that a kill in mid-removal leaves nothing under a good name."""
        for name in folders:
            if (self.folder / name).exists():
                os.rename(self.folder / name, self.folder / (_SCRATCH + name))
                remove(self.folder / (_SCRATCH + name))


def _of_step(folder: Path, entries: tuple[Entry, ...], step: int | None) -> tuple[Entry, ...]:
    if step is None:
        return entries
    found = tuple(entry for entry in entries if entry.step == step)
    if not found:
        steps = ", ".join(str(entry.step) for entry in entries)
        raise CheckpointError(f"{folder}: expected a checkpoint of step {step}; found steps {steps}")
    return found


def _free_name(step: int, entries: tuple[Entry, ...]) -> str:
    taken = {entry.folder for entry in entries}
    name, attempt = f"step-{step}", 1
    while name in taken:
        attempt += 1
        name = f"step-{step}.{attempt}"
    return name


def _due(step: int, every: int | None) -> bool:
    return every is not None and step > 0 and step % every == 0


def _write_files(folder: Path, files: Mapping[str, bytes]) -> dict[str, FileRecord]:
    folder.mkdir()
    records = {name: write_file(folder / name, content) for name, content in files.items()}
    sync_folder(folder)
    return records
