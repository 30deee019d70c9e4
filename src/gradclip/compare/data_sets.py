"""Data sets of stored runs; errors on different data, or of different scores, are never ranked together."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from gradclip import keys
from gradclip.compare.labels import numbered, short_setting
from gradclip.config.identity import data_identity
from gradclip.errors import ConfigError
from gradclip.scores import stored_score
from gradclip.tracking.stored_runs import StoredRun


class DataChoice(NamedTuple):
    """The runs on the chosen data set, and the other data sets.

    Attributes:
        name: name of the data set.
        runs: runs on the data set, oldest first.
        others: number of runs on each other data set, by name, newest data set first.
    """

    name: str
    runs: list[StoredRun]
    others: dict[str, int]


def choose_data(runs: Sequence[StoredRun], name: str | None = None) -> DataChoice:
    """Return the runs on one data set.

    Args:
        runs: at least one run, oldest first.
        name: name of the data set or its beginning; None means the data set of the newest run.

    Raises:
        ConfigError: the name matches no data set of the runs, or several.
    """
    found = by_data(name_tables_by_content(runs))
    if name is None:
        chosen = next(iter(found))
    else:
        matching = [key for key in found if key == name] or [key for key in found if key.startswith(name)]
        if len(matching) != 1:
            raise ConfigError(f"data_set: got {name!r}; the runs have {', '.join(map(repr, matching or found))}")
        (chosen,) = matching
    return DataChoice(chosen, found[chosen], {key: len(other) for key, other in found.items() if key != chosen})


def by_data(runs: Sequence[StoredRun]) -> dict[str, list[StoredRun]]:
    """Return the runs of each data set and score, by a readable name, newest data set first."""
    members: dict[tuple[tuple[str, str], ...], list[StoredRun]] = defaultdict(list)
    for run in runs:
        members[tuple(_identity(run).items())].append(run)
    newest_first = sorted(members, key=lambda identity: runs.index(members[identity][-1]), reverse=True)
    names = _names([dict(identity) for identity in newest_first])
    return {name: members[identity] for name, identity in zip(names, newest_first, strict=True)}


def _identity(run: StoredRun) -> dict[str, str]:
    """Return the settings that determine the examples, and the score; runs on the same data share both.

    A user-defined data module has no setting that says which examples choose. Runs that were stored before its
    validation examples were a split of their own have a score on test examples only.
    """
    score = stored_score(run.metrics, {})
    identity = data_identity(run.parameters) | {"score": score.name if score else ""}
    if score and "data._target_" in identity:
        identity["split"] = score.choosing_split(run.metrics)
    return identity


def _names(identities: Sequence[dict[str, str]]) -> list[str]:
    """Return a name for each data set: its file or its name, and the settings that differ from its namesakes."""
    names = [[_short_name(one)] for one in identities]
    for key in sorted({key for one in identities for key in one}):
        namesakes = defaultdict(set)
        for name, one in zip(names, identities, strict=True):
            namesakes[name[0]].add(one.get(key))
        for name, one in zip(names, identities, strict=True):
            if len(namesakes[name[0]]) > 1 and key in one and key not in {"data.path", "data.name"}:
                name.append(short_setting(key, one[key]))
    return numbered([" ".join(name) for name in names])


def _short_name(identity: dict[str, str]) -> str:
    """Return the name of the file, of the user-defined class or of the data set."""
    file, own = Path(identity.get("data.path", "")).name, identity.get("data._target_", "").rpartition(".")[2]
    return file or own or identity.get("data.name", "data")


def name_tables_by_content(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Name the table of each run by its content: a copied file is the same table, a changed file is another."""
    names = {digest: Path(run.parameters["data.path"]).name for run in runs if (digest := _table_digest(run))}
    counts = Counter(names.values())
    names |= {digest: f"{name} ({digest[:8]})" for digest, name in names.items() if counts[name] > 1}
    named = {digest: {"data.path": name} for digest, name in names.items()}
    return [replace(run, parameters=run.parameters | named.get(_table_digest(run), {})) for run in runs]


def _table_digest(run: StoredRun) -> str:
    return run.tags.get(keys.DATA_DIGEST, "") if "data.path" in run.parameters else ""
