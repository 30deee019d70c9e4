"""Content of a shared store is data: stored configs, folder names and parameters never execute code."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from gradclip import keys
from gradclip.advise.choose_run import evidence_to_advise_on
from gradclip.advise.evidence import evidence_of
from gradclip.advise.report import advice_message
from gradclip.cli.arguments import check_arguments
from gradclip.config.composition import compose_config, overrides_of
from gradclip.config.identity import data_digest, fingerprint
from gradclip.config.schema import TrainConfig
from gradclip.config.serialization import from_yaml, to_yaml
from gradclip.config.tracking import TrackingSettings
from gradclip.errors import ConfigError, TrackingError
from gradclip.tracking.backend.operations import backend_of
from gradclip.tracking.owner import RUN_LOCK, owner_tags, release
from gradclip.tracking.records import RUN_FILE, Parent, Store
from gradclip.tracking.signature import write_run_note
from gradclip.training.resume import RESUMED, find_stopped
from tests.support.evidence import made_telemetry
from tests.support.stores import make_store, write_run

CONFIG = compose_config(["clip=norm"])
TEXT = to_yaml(CONFIG)


def tracking_of(store: Store) -> TrackingSettings:
    return CONFIG.tracking.model_copy(update={"uri": store.uri, "artifacts": store.artifacts})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "is nested more than 20 deep"),
        ("{a: " * 100_000, "is nested more than 20 deep"),
        (f"# {'x' * 1_000_000}\n{TEXT}", "is too long"),
        ("!!python/object/apply:os.system [touch hostile]", "holds an alias or a tag"),
        ("seed: !!timestamp x", "holds an alias or a tag"),
        ("a: &a [0, 0]\nb: &b [*a, *a]\nc: [*b, *b]", "holds an alias or a tag"),
        (TEXT.replace("'*'", "${oc.env:HOME}"), "holds an interpolation"),
        (TEXT.replace("'*'", r'"\x24{oc.env:HOME}"'), "holds an interpolation"),
        (TEXT.replace("'*'", '"$\\\n{oc.env:HOME}"'), "holds an interpolation"),
        (TEXT.replace("_target_", '"$\\u007boc.env:HOME}"'), "holds an interpolation"),
        (f"seed: {'9' * 5000}", "is not YAML"),
        ("seed: 2001-99-99", "is not YAML"),
        ("seed: \x00", "is not YAML"),
        (f"{TEXT}hydra:\n  callbacks:\n    x:\n      _target_: os.system\n", "hydra: no such setting"),
    ],
    ids=range(14),
)
def test_a_hostile_config_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_yaml(text, CONFIG.tracking, "run")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tracking_settings_of_a_stored_config_are_ignored() -> None:
    stored = yaml.safe_load(TEXT)
    stored["tracking"] |= {"trusted_models": ["*.*"], "uri": "http://elsewhere"}
    assert from_yaml(yaml.safe_dump(stored), CONFIG.tracking, "run") == CONFIG


@pytest.mark.parametrize(
    "target", ["os.system", "torch.nn.functional.torch.Tensor", "gradclip.models.build.torch.fx.GraphModule"]
)
def test_a_pattern_of_trusted_classes_does_not_match_names_in_other_modules(target: str) -> None:
    with pytest.raises(ConfigError, match=f"the stored config names '{target}'; only "):
        from_yaml(TEXT.replace("gradclip.models.mlp.MLP", target), CONFIG.tracking, "run")


def test_a_stored_config_reads_a_table_only_if_its_content_is_unchanged(tmp_path: Path) -> None:
    secret, pipe = tmp_path / "secret.csv", tmp_path / "pipe.csv"
    secret.write_text("a,b\n" * 9)
    os.mkfifo(pipe)
    config = compose_config(["data=table", f"data.path={secret}", "data.target=b"])
    assert from_yaml(to_yaml(config), config.tracking, "run", data_digest(config)) == config
    assert overrides_of(config) == ["data=table", f"data.path={secret}", "data.target=b"]
    for text, reason in (
        (to_yaml(config), f"run: the table {secret} has changed since the run began, or is a different one"),
        (to_yaml(config).replace(str(secret), str(pipe)), "is not a file"),
        (to_yaml(config).replace(str(secret), "/no/such.csv"), "No such file"),
    ):
        with pytest.raises(ConfigError, match=reason):
            from_yaml(text, config.tracking, "run")


@pytest.mark.parametrize(
    "argument",
    [
        *("clip=../x", "clip=norm,../x", "clip=[../x]", "clip='../x'", "clip=/tmp/x", "~clip=../x"),
        *("+experiment=../../x/evil", "model@x=../y", "+model@x.y=[../y]", "hydra/launcher=../x"),
        *("hydra/job_logging=../../x", "+hydra/callbacks=../x", "hydra=../x", "tracking=..", "sweep=a/b"),
    ],
)
def test_an_option_must_not_be_a_path(argument: str) -> None:
    with pytest.raises(ConfigError, match=r"no such (option|setting)"):
        check_arguments([argument], "train")


def test_options_of_launchers_and_logging_are_allowed() -> None:
    options = ["hydra/launcher=joblib", "hydra/job_logging=none", "+experiment=[explosion,norm_scaling]", "seed=a/b"]
    check_arguments(options, "train")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path)


def evidence_run(
    store: Store, config: str, telemetry: pd.DataFrame, parent: Parent | None = None, **parameters: str
) -> str:
    """Write a completed run with the files that advice is based on, and return its id."""
    settings = {name.replace("__", "."): value for name, value in parameters.items()}
    run_id, client = write_run(store, 1.0, 0, settings, parent=parent), MlflowClient(store.uri)
    folder = Path(store.artifacts).parent / "files" / "telemetry"
    folder.mkdir(parents=True, exist_ok=True)
    telemetry.to_parquet(folder / "gradients.parquet")
    client.log_artifacts(run_id, str(folder.parent))
    client.log_text(run_id, config, keys.CONFIG_FILE)
    return run_id


def test_advice_takes_settings_from_the_checked_config_and_quotes_them_for_the_shell(store: Store) -> None:
    hostile = to_yaml(compose_config(["clip=norm", r'clip.parameters="*; touch hostile #"']))
    hostile = hostile.replace("hostile #", "hostile $(id)")
    frame = made_telemetry([4.0] * 20, clipped=[2.0] * 20).assign(**{"grad/norm/\x1b[2J": 4.0, "grad/norm/b": 4.0})
    run_id = evidence_run(store, hostile, frame, clip__value="${oc.env:PGPASSWORD}", optimizer__lr="rm -rf")
    run = backend_of(store).read_run(run_id)
    evidence = evidence_of(run, tracking_of(store))
    assert (evidence.training.threshold, evidence.learning_rate) == (1.0, 0.01)
    message = advice_message(evidence, None, seeds=2)
    assert all(line.isprintable() for line in message.splitlines())
    commands = [shlex.split(line) for line in message.splitlines() if line.startswith("    python src/train.py")]
    assert len(commands) >= 3
    assert not any("oc.env" in word for command in commands for word in command)
    word = 'clip.parameters="*; touch hostile $(id)"'
    assert any(word in command for command in commands)


def test_a_damaged_run_is_skipped_and_reported(store: Store) -> None:
    good = evidence_run(store, TEXT, made_telemetry([4.0] * 20))
    evidence_run(store, "a: [", made_telemetry([4.0]))
    evidence_run(store, TEXT, made_telemetry([4.0]).drop(columns=[keys.GRAD_NORM]))
    evidence_run(store, TEXT, made_telemetry([4.0]).assign(step="\x1b[2J"))
    table = Path(store.artifacts).parent / "table.csv"
    table.write_text("x,y\n1,2\n")
    config = to_yaml(compose_config(["data=table", f"data.path={table}", "data.target=y"]))
    evidence_run(store, config, made_telemetry([4.0]))
    table.unlink()
    write_run(store, 1.0, 0, {})
    evidence, lines = evidence_to_advise_on(None, tracking_of(store))
    assert evidence.training.run_id == good
    assert len(lines) == 6
    starts = ("skipped: run: ", "skipped: data.path: ")
    assert all(line.startswith(starts) and line.isprintable() for line in lines[:-1])
    assert lines[-1] == f"Advice on run {evidence.training.name} instead:"


def test_advice_on_a_multirun_is_on_one_of_its_runs(store: Store, tmp_path: Path) -> None:
    parent = Parent(str(tmp_path), "many", {keys.CREATION: "0" * 32})
    good = evidence_run(store, TEXT, made_telemetry([4.0] * 20), parent=parent)
    multirun = MlflowClient(store.uri).get_run(good).data.tags[keys.PARENT_RUN]
    evidence, messages = evidence_to_advise_on(multirun, tracking_of(store))
    assert evidence.training.run_id == good
    assert messages[0].startswith("Multirun many: 1 learned")
    assert evidence_to_advise_on(good, tracking_of(store))[1] == []


class Stopped:
    """A run that a command of this user began and that was stopped."""

    def __init__(self, store: Store, folder: Path, config: TrainConfig = CONFIG) -> None:
        self.store, self.folder, self.client = store, folder, MlflowClient(store.uri)
        tags = {keys.FOLDER: str(folder), **owner_tags(folder / RUN_LOCK)}
        write_run(store, 1.0, 1, {})  # creates the store
        self.run_id = backend_of(store).create_run("\x1b[2Jname", tags, None, None)
        write_run_note(folder, self.run_id, "", fingerprint(config))
        self.client.log_text(self.run_id, to_yaml(config), keys.CONFIG_FILE)
        self.client.set_terminated(self.run_id, "KILLED")


@pytest.fixture
def stopped(store: Store, tmp_path: Path) -> Iterator[Stopped]:
    run = Stopped(store, tmp_path / "run")
    yield run
    release(run.folder / RUN_LOCK)


def test_a_run_is_resumed_only_with_its_original_settings_and_in_its_original_folder(
    stopped: Stopped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, tracking = stopped.run_id, tracking_of(stopped.store)
    monkeypatch.setenv(RESUMED, run_id)
    config, found = find_stopped(run_id, tracking)
    assert fingerprint(config) == fingerprint(CONFIG)
    assert found.name == r"\x1b[2Jname"
    stopped.client.log_text(run_id, TEXT.replace("lr: 0.01", "lr: 0.02"), keys.CONFIG_FILE)
    with pytest.raises(ConfigError, match="the stored config differs from the one that the run began with"):
        find_stopped(run_id, tracking)
    note = (stopped.folder / RUN_FILE).read_text()
    (stopped.folder / RUN_FILE).write_text(note.replace(fingerprint(CONFIG), "0" * 16))
    with pytest.raises(TrackingError, match="can be resumed only where its files are"):
        find_stopped(run_id, tracking)
    hostile = tmp_path / "artifacts" / run_id / "artifacts"
    (hostile / RUN_FILE).write_text(note)  # signed, but for another folder
    stopped.client.set_tag(run_id, keys.FOLDER, str(hostile))
    with pytest.raises(TrackingError, match="can be resumed only where its files are"):
        find_stopped(run_id, tracking)


def test_the_last_run_is_the_last_one_of_this_user(stopped: Stopped, tmp_path: Path) -> None:
    backend = backend_of(stopped.store)
    deep = tmp_path / "deep" / RUN_FILE
    deep.parent.mkdir()
    deep.write_text("[" * 100_000)
    for folder in ("/no/such", "", "a\0b", str(tmp_path / "artifacts"), str(deep.parent)):
        tags = {keys.FOLDER: folder, **owner_tags(tmp_path / RUN_LOCK)}
        backend.end_run(backend.create_run("hostile", tags, None, None), "KILLED")
    assert backend.find_stopped_run("last").run_id == stopped.run_id
