"""Identity of runs: a fingerprint of the settings that have an effect, and a digest of the table."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from functools import cache
from itertools import islice
from pathlib import Path

from gradclip.config.data import OwnDataSettings
from gradclip.config.schema import TrainConfig, flatten, has_effect
from gradclip.errors import ConfigError, first_line

MOST_FILES = 10_000  # in the folder of a table
# Settings that prepare the data for training and do not change which examples are predicted.
PREPARATION = {
    *("data.scale_inputs", "data.scale_target", "data.categorical", "data.window"),
    *("data.steps_per_epoch", "data.train_sequences", "data.solved_at"),
}
# Settings that older runs do not store, with the values that correspond to what those runs did.
AS_BEFORE = {("data.validation_fraction", "0.0"), ("data.validation_sequences", "0")}


def fingerprint(config: TrainConfig, digest: str | None = None) -> str:
    """Return a short hash of everything that changes what a run computes; runs with equal hashes are the same run.

    For a table in a file, the hash covers its content, not its path.

    Args:
        config: all settings.
        digest: digest of the table that the run has read; None for the content that the file has now.

    Raises:
        ConfigError: the table cannot be read.
    """
    settings = dict(one for one in flatten(config).items() if has_effect(one[0]) and one not in AS_BEFORE)
    if digest := data_digest(config) if digest is None else digest:
        settings["data.path"] = digest
    if isinstance(config.data, OwnDataSettings) and config.module is None:
        settings["val_dataloader"] = "validation"  # older runs, which stored its score as test, are other runs
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def data_name(config: TrainConfig) -> str:
    """Return the name of the data set, of its file, or of the user-defined class that provides it."""
    settings = flatten(config)
    path, target = settings.get("data.path"), settings.get("data._target_")
    return Path(path).name if path else target.rpartition(".")[2] if target else settings["data.name"]


def data_identity(parameters: Mapping[str, str], digest: str = "") -> dict[str, str]:
    """Return the settings that determine the predicted examples; scores are comparable if these settings are equal.

    The digest of a table, if known, replaces its path.
    """
    ignored = PREPARATION | ({"data.features"} if "data.path" in parameters else set())
    known = parameters if not digest else {**parameters, "data.path": digest}
    return {
        name: value
        for name, value in sorted(known.items())
        if name.startswith("data.") and name not in ignored and has_effect(name) and (name, value) not in AS_BEFORE
    }


def data_digest(config: TrainConfig) -> str:
    """Return the SHA-256 of the file or folder that holds a run's table; an empty string for generated data.

    Raises:
        ConfigError: the file or folder cannot be read.
    """
    path = getattr(config.data, "path", None)
    return "" if path is None else file_digest(path)


def file_digest(path: str) -> str:
    """Return the SHA-256 of the file or folder at a path.

    Raises:
        ConfigError: the file or folder cannot be read.
    """
    try:
        if not os.path.isdir(path):
            return _digest(path)
        contents = [(file.relative_to(path).as_posix(), _digest(str(file))) for file in files_in(path)]
        return hashlib.sha256(json.dumps(contents).encode()).hexdigest()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(f"data.path: got {path!r}; cannot be read: {first_line(error)}") from error


def files_in(folder: str) -> list[Path]:
    """Return the files below a folder, sorted.

    Raises:
        ConfigError: there are too many files for a table.
    """
    found = list(islice(Path(folder).rglob("*"), MOST_FILES + 1))
    if len(found) > MOST_FILES:
        raise ConfigError(f"data.path: got {folder!r}; the folder of a table has at most {MOST_FILES:,} files")
    return sorted(path for path in found if not path.is_dir())


def _digest(path: str) -> str:
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"data.path: got {path!r}; is not a file")
    return _digest_of(path, found.st_mtime_ns, found.st_size)


@cache  # hundreds of jobs read the same file
def _digest_of(path: str, _modified: int, _size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
