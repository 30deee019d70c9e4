"""Spool of a run: a data file beside it with the writes that the store did not accept, replayed later in order.

Each line is one write as JSON: the format version, the operation and its arguments by name, the run, the store and a
signature. :class:`~gradclip.tracking.operations.Operations` defines how each argument is checked and encoded. Every
write can be repeated without harm, so a partly replayed spool is replayed from its beginning.

A spool is not trusted because of its location: lines are performed only if a command of this user signed them, all
lines are checked before the first is performed, and none may name a file outside the run's folder.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import TypeAdapter

from gradclip import keys
from gradclip.errors import RefusedWriteError, TrackingError
from gradclip.tracking.files import invalid_part, read_note, sync_to_disk, whole_file
from gradclip.tracking.operations import WRITES, Operations, argument_types, named_arguments
from gradclip.tracking.records import RUN_FILE, SPOOL_FILE, Call, ModelFiles, Store
from gradclip.tracking.signature import RunNote, is_signed, sign, write_run_note

Perform = Callable[[Call], Any]
VERSION = 2
STORE = TypeAdapter(Store)
REFUSED_FILE = "refused.jsonl"  # in the folder of the run: writes that the store will never accept
MODEL_FOLDER = "unsent_model"  # in the folder of the run
PAUSE = 2.0  # seconds between two attempts to replay a spool while its run trains


class Spool:
    """The spool of the run in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / SPOOL_FILE
        self._lock = FileLock(f"{self.path}.lock")
        self._next_attempt = time.monotonic() + PAUSE

    def __len__(self) -> int:
        return sum(1 for _ in self._lines())

    @property
    def is_due(self) -> bool:
        """Whether the next attempt to replay is due."""
        return time.monotonic() >= self._next_attempt

    def id_of(self, run_id: str) -> str:
        """Return the store's id of this folder's run if ``run_id`` is its creation tag; return other ids unchanged."""
        path = self.folder / RUN_FILE
        note = read_note(path, RunNote) if path.exists() else RunNote("")
        return note.run_id if note.creation == run_id else run_id

    def add(self, call: Call) -> None:
        """Append a write and sync it, with the files that it names, to disk.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            line = json.dumps(_signed(encode(call), self.folder))
            for path in files_of(call):
                sync_to_disk(path)
            _append(self.path, f"{line}\n")

    def replay(self, perform: Perform, adopt: bool = False) -> int:
        """Perform all writes in order, remove the file and return the number of writes.

        A write that the store refuses does not block the others: it is moved to a separate file.

        Args:
            perform: performs one write; any exception but a refusal ends the replay and keeps the file.
            adopt: whether to perform lines that no command of this user signed.

        Raises:
            RefusedWriteError: the store refused some writes; raised with the first reason after the others succeeded.
            TrackingError: a line is unsigned or not a write that this version knows, so nothing was performed; or the
                store refused to create the run.
        """
        self._next_attempt = time.monotonic() + PAUSE
        refused: list[tuple[Call, RefusedWriteError]] = []
        with self._lock:
            calls = self.calls(adopt)
            creates = bool(calls) and calls[0].operation == Operations.create_run.__name__
            created = self._create(calls[0], perform) if creates else ""
            for call in calls[1:] if creates else calls:
                try:
                    perform(call._replace(run_id=created or call.run_id))
                except RefusedWriteError as error:
                    refused.append((call, error))
            self.keep_refused([call for call, _ in refused])
            self.path.unlink(missing_ok=True)
            if not (self.folder / REFUSED_FILE).exists():  # which may name the files of a model
                shutil.rmtree(self.folder / MODEL_FOLDER, ignore_errors=True)
        Path(self._lock.lock_file).unlink(missing_ok=True)
        if refused:
            where = f"{len(refused)} of {len(calls)} writes of {self.folder} were refused for good, see {REFUSED_FILE}"
            raise RefusedWriteError(f"{where}: {refused[0][1]}")
        return len(calls)

    def keep_refused(self, calls: Sequence[Call]) -> None:
        """Append writes that the store will never accept, with the files that they name, to a separate file.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        if calls:
            lines = [json.dumps(_signed(encode(call), self.folder)) for call in calls]
            _append(self.folder / REFUSED_FILE, "".join(f"{line}\n" for line in lines))

    def _create(self, call: Call, perform: Perform) -> str:
        """Create the run that the other writes belong to and return its id."""
        try:
            run_id = str(perform(call))
        except RefusedWriteError as error:  # without the run there is nothing to write to
            raise TrackingError(str(error)) from error
        tags = named_arguments(call)["tags"]
        write_run_note(self.folder, run_id, tags.get(keys.CREATION, ""), tags.get(keys.CONFIG_HASH, ""))
        return run_id

    def calls(self, adopt: bool = False) -> list[Call]:
        """Return all writes in order, with ``adopt`` even unsigned ones.

        Raises:
            TrackingError: a line is unsigned, or not a write that this version knows.
        """
        try:
            lines = [_object(json.loads(line)) for line in self._lines()]
            if not (adopt or all(_is_ours(line, self.folder) for line in lines)):
                raise TrackingError(f"{self.path}: no command of yours wrote this file; --adopt sends it anyway")
            return [decode(line, self.folder) for line in lines]
        except (ValueError, KeyError, TypeError, RecursionError) as error:  # pydantic and json raise ValueErrors
            raise TrackingError(f"{self.path}: contains an invalid write: {invalid_part(error)}") from error

    def _lines(self) -> Iterator[bytes]:
        """Yield the complete lines; a power loss may have cut the last one short."""
        if self.path.exists():
            with self.path.open("rb") as file:  # damaged ones may not be text
                yield from (line for line in file if line.endswith(b"\n"))


def _append(path: Path, line: str) -> None:
    """Append a line, after removing an incomplete one that a power loss left."""
    is_new = not path.exists()
    whole = 0 if is_new else path.read_bytes().rfind(b"\n") + 1
    try:
        with path.open("ab") as file:
            file.truncate(whole)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        if path.exists():
            os.truncate(path, whole)
        raise
    if is_new:
        sync_to_disk(path.parent)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"got {type(value).__name__}, expected an object")
    return value


def _signed(line: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a line with its signature; if this user has no key, without one, and it has to be adopted."""
    with suppress(TrackingError):
        return {**line, "signature": sign(folder, json.dumps(line, sort_keys=True))}
    return line


def _is_ours(line: dict[str, Any], folder: Path) -> bool:
    content = {key: value for key, value in line.items() if key != "signature"}
    return is_signed(folder, json.dumps(content, sort_keys=True), line.get("signature"))


def encode(call: Call) -> dict[str, Any]:
    """Encode a write as plain data; copy a model's files from their temporary folder to the run's folder."""
    arguments = named_arguments(call)
    if call.operation == Operations.write_model.__name__:
        arguments["files"] = _copy_model(arguments["files"], Path(call.folder, MODEL_FOLDER))
    types = argument_types(call.operation)
    encoded = {name: types[name].dump_python(value) for name, value in arguments.items()}
    address = {"run_id": call.run_id, "store": call.store._asdict()}
    return {"version": VERSION, "operation": call.operation, **address, "arguments": encoded}


def decode(line: dict[str, Any], folder: Path) -> Call:
    """Decode a write of a run in a folder from plain data, and check each argument.

    Raises:
        KeyError: a part is missing.
        ValueError: an argument is invalid, or there is no such write.
    """
    if line.get("version") != VERSION:
        raise ValueError("another version of gradclip wrote it, and must send it")
    operation = line["operation"]
    if operation not in WRITES:
        raise ValueError(f"{operation!r} is never spooled")
    types, arguments = argument_types(operation), _object(line["arguments"])
    if unknown := arguments.keys() - types.keys():
        raise ValueError(f"{operation} has no argument {min(unknown)!r}")
    names = list(types)[: len(arguments)]  # only trailing ones may be omitted
    checked = {name: types[name].validate_python(arguments[name]) for name in names}
    for path in _paths(checked):
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise ValueError(f"{operation} names {path}, which is not in the folder of the run")
    store = STORE.validate_python(line["store"])
    return Call(store, operation, str(line["run_id"]), tuple(checked.values()), str(folder))


def _paths(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of files and folders among the arguments of a write."""
    for name, value in arguments.items():
        if name == "folder":
            yield value
        if isinstance(value, ModelFiles):
            yield from value.paths


def files_of(call: Call) -> list[Path]:
    """Return the files that a write sends."""
    paths = [Path(path) for path in _paths(named_arguments(call))]
    found = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return [file for file in found if file.is_file() and not file.is_symlink()]


def _copy_model(files: ModelFiles, folder: Path) -> ModelFiles:
    artifacts = {name: _copy(Path(path), folder / name) for name, path in files.artifacts.items()}
    example, network = (_copy(path, folder / path.name) for path in map(Path, (files.example, files.network)))
    return files._replace(artifacts=artifacts, example=example, network=network)


def _copy(source: Path, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as temporary:
        temporary.write_bytes(source.read_bytes())
    return str(target)
