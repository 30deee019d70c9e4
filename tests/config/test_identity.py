"""A fingerprint identifies the settings of a run, and a digest the content of its table."""

from pathlib import Path

import pandas as pd
import pytest

from gradclip.config import identity
from gradclip.config.composition import compose_config, overrides_of
from gradclip.config.identity import data_digest, data_identity, fingerprint
from gradclip.config.schema import TrainConfig, flatten
from gradclip.config.serialization import from_yaml, to_yaml
from gradclip.errors import ConfigError

FRAME = pd.DataFrame({"x": range(8), "y": range(8)})


def config_of(path: str) -> TrainConfig:
    return compose_config(["data=table", f"data.path={path}", "data.target=y"])


def test_a_folder_of_parquet_files_is_identified_by_its_content(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        FRAME.to_parquet(tmp_path / name / "a.parquet")
    one, other = (config_of(str(tmp_path / name)) for name in ("one", "other"))
    assert data_digest(one) == data_digest(other)
    assert fingerprint(one) == fingerprint(other)
    FRAME.assign(x=0).to_parquet(tmp_path / "other" / "b.parquet")
    assert data_digest(one) != data_digest(other)


def test_a_run_stored_before_validation_rows_existed_keeps_its_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = compose_config(["data=diabetes", "data.validation_fraction=0", "tracking=none"])
    stored = to_yaml(config).replace("  validation_fraction: 0.0\n", "")
    assert "validation_fraction" not in stored
    read = from_yaml(stored, config.tracking, "run")
    assert read.data == config.data
    assert "data.validation_fraction=0.0" in overrides_of(read)
    known = {name: value for name, value in flatten(read).items() if name != "data.validation_fraction"}
    assert data_identity(known) == data_identity(flatten(read))
    now = fingerprint(read)
    monkeypatch.setattr(identity, "flatten", lambda _: known)
    assert fingerprint(read) == now
    chosen = compose_config(["data=diabetes", "tracking=none"])
    monkeypatch.undo()
    assert fingerprint(chosen) != now


def test_a_run_on_a_users_data_is_another_run_than_older_ones_that_stored_validation_as_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = ["data._target_=my_data.Mine", "tracking=none"]
    ours, theirs = (compose_config([*own, *more]) for more in ([], ["module._target_=my_training.Module"]))
    now = [fingerprint(one) for one in (ours, theirs)]
    monkeypatch.setattr(identity, "OwnDataSettings", type(None))
    older = [fingerprint(one) for one in (ours, theirs)]
    assert now[0] != older[0]
    assert now[1] == older[1], "metrics of a module keep their names"


def test_a_tilde_in_a_path_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    FRAME.to_csv(tmp_path / "table.csv.gz", index=False)
    assert config_of("'~/table.csv.gz'").data.path == str(tmp_path / "table.csv.gz")  # type: ignore[union-attr]


def test_a_folder_that_is_not_a_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ConfigError, match=r"there is no such file or folder of Parquet files$"):
        config_of(str(tmp_path))
    monkeypatch.setattr(identity, "MOST_FILES", 0)
    with pytest.raises(ConfigError, match=r"the folder of a table has at most 0 files$"):
        config_of(str(tmp_path))
