"""The defaults of every option are valid; an error names the setting, its value and what is allowed."""

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from gradclip.config.error_messages import LINE, describe
from gradclip.config.paths import register_resolvers
from gradclip.config.schema import AdviseSettings, CompareSettings, TrainConfig, flatten
from gradclip.config.validation import setting_names, validate
from gradclip.errors import ConfigError
from gradclip.program import PROJECT_ROOT
from gradclip.sweep.search.search_settings import SearchSettings
from tests.support.torch_version import NEEDS_MUON

CONFIGS = PROJECT_ROOT / "conf"
GROUPS = ["data", "model", "loss", "optimizer", "schedule", "clip", "trainer", "tracking"]
OPTIONS = [(path.parent.name, path.stem) for group in GROUPS for path in sorted((CONFIGS / group).glob("*.yaml"))]


@pytest.fixture(autouse=True, scope="module")
def config_folder():
    register_resolvers()
    with pytest.MonkeyPatch.context() as patch, initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="session")
def csv_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text("a,y\n1,2\n")
    return path


def settings(*overrides):
    return validate(compose("train", [*overrides]))


def test_the_defaults_are_the_settings_of_the_tutorial():
    config = settings()
    data = config.data
    assert (data.samples, data.features, data.noise, data.random_state, data.test_fraction) == (1000, 20, 0.1, 1, 0.5)
    assert config.model.widths == [25]
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.momentum) == ("sgd", 0.01, 0.9)
    assert (config.trainer.max_epochs, config.trainer.batch_size) == (100, 32)
    assert (config.loss.name, config.clip.name, config.seed) == ("mse", "none", 0)
    assert config.tracking.uri == f"sqlite:///{PROJECT_ROOT}/mlruns/mlflow.db"


@pytest.mark.parametrize(
    ("group", "option"),
    [pytest.param(*option, marks=NEEDS_MUON) if "muon" in option else option for option in OPTIONS],
)
def test_the_defaults_of_every_option_are_valid(group, option, csv_path):
    extra = [f"data.path={csv_path}", "data.target=y"] if option in {"table", "series"} else []
    extra += ["data.time=x"] if option == "series" else []
    extra += [f"{group}._target_=my_package.Class"] if option == "own" else []
    extra += ["data=temporal_order"] if option == "cross_entropy" else []
    config = settings(f"{group}={option}", *extra)
    written = yaml.safe_load((CONFIGS / group / f"{option}.yaml").read_text())
    chosen = getattr(config, group).model_dump(by_alias=True)
    for name, value in written.items():
        plain = name != "defaults" and value != "???" and "${" not in str(value)
        assert not plain or chosen[name] == (tuple(value) if name == "betas" else value)


@pytest.mark.parametrize("name", [path.stem for path in (CONFIGS / "experiment").glob("*.yaml")])
def test_every_experiment_is_valid_and_changes_few_groups(name):
    default, experiment = flatten(settings()), flatten(settings(f"+experiment={name}"))
    differing = {key for key, value in experiment.items() if default.get(key) != value}
    assert differing or name == "explosion"  # the default run
    recurrent = {"model", "schedule", "trainer"} if name.startswith("recurrent_") else set()
    assert {key.split(".")[0] for key in differing} <= {"clip", "data", "loss", "optimizer"} | recurrent


def test_an_environment_variable_selects_another_store(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9999")
    assert settings().tracking.uri == "http://127.0.0.1:9999"
    assert settings("tracking=server").tracking.uri == "http://127.0.0.1:9999"
    assert settings("tracking=none").tracking.uri is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["clip=norm", "clip.value=0"], "clip.value: got 0; must be greater than 0"),
        (["clip=norm", "clip.value=-1"], "clip.value: got -1; must be greater than 0"),
        (["clip=value", "clip.value=nan"], "clip.value: got nan; must be a finite number"),
        (["clip=value", "clip.value=inf"], "clip.value: got inf; must be a finite number"),
        (
            ["data=adding", "trainer.batch_size=100000000"],
            "trainer.batch_size: got 100000000; with these data at most 2000000",
        ),
        (
            ["data=copy", "trainer.batch_size=10000000"],
            "trainer.batch_size: got 10000000; with these data at most 2500000",
        ),
        (
            ["clip=norm", "clip.value=high"],
            "clip.value: got 'high'; must be a valid number",
        ),
        (["clip=norm", "clip.value=true"], "clip.value: got True; true and false are not numbers"),
        (["seed=false"], "seed: got False; true and false are not numbers"),
        (["data=adding", "model.truncation=true"], "model.truncation: got True; true and false are not numbers"),
        (["model.widths=[25,true]"], "model.widths: got [25, True]; true and false are not numbers"),
        (["clip=norm_value", "clip.norm=0"], "clip.norm: got 0; must be greater than 0"),
        (["clip=norm", "+clip.valu=2"], "clip.valu: no such setting (did you mean 'clip.value'?)"),
        (["+sed=2"], "sed: no such setting (did you mean 'seed'?)"),
        (["seed=-1"], "seed: got -1; must be greater than or equal to 0"),
        (["seed=4294967296"], "seed: got 4294967296; must be less than 4294967296"),
        (["~seed"], "seed: missing; add +seed=..."),
        (["~clip.value", "clip=norm"], "clip.value: missing; add +clip.value=..."),
        (["data=table"], "data.path: missing; give data.path=..."),
        (
            ["data=table", "data.target=y", "data.path=/nowhere/table.csv"],
            "data.path: got '/nowhere/table.csv'; there is no such file or folder of Parquet files",
        ),
        (
            ["data=table", "data.target=y", "data.path=/nowhere/table.xls"],
            "data.path: got '/nowhere/table.xls'; must end in .csv, .tsv, .txt (or these with .gz, .bz2, .xz) "
            "or .parquet, or be a folder of Parquet files",
        ),
        (
            ["data=wine", "loss=mse"],
            "loss: got 'mse'; the target of data=wine has classes, choose cross_entropy",
        ),
        (["data.test_fraction=1"], "data.test_fraction: got 1; must be less than 1"),
        (["data.validation_fraction=1"], "data.validation_fraction: got 1; must be less than 1"),
        (
            ["data=diabetes", "data.validation_fraction=-0.1"],
            "data.validation_fraction: got -0.1; must be greater than or equal to 0",
        ),
        (
            ["data=adding", "data.validation_sequences=150"],
            "data.validation_sequences: got 150; must be a multiple of 100",
        ),
        (["data.samples=3"], "data.samples: got 3; must be greater than or equal to 4"),
        (["data.scale_inputs=max"], "data.scale_inputs: got 'max'; must be 'none', 'standard' or 'minmax'"),
        (["model.widths=[25,0]"], "model.widths.1: got 0; must be greater than 0"),
        (
            ["model.activation=swish"],
            "model.activation: got 'swish'; must be 'relu', 'tanh', 'sigmoid', 'elu', 'gelu' or 'silu'",
        ),
        (["optimizer.name=lion"], "optimizer.name: got 'lion'; choose from 'sgd', 'adam', 'adamw', 'rmsprop', 'muon'"),
        (["optimizer.momentum=1"], "optimizer.momentum: got 1; must be less than 1"),
        (
            ["optimizer.nesterov=true", "optimizer.momentum=0"],
            "optimizer.nesterov: got True; needs optimizer.momentum above 0",
        ),
        (["optimizer.lr=${sead}"], "optimizer.lr: Interpolation key 'sead' not found"),
        (["loss=huber", "loss.delta=0"], "loss.delta: got 0; must be greater than 0"),
        (
            ["schedule=warmup_cosine", "schedule.warmup_fraction=1"],
            "schedule.warmup_fraction: got 1; must be less than 1",
        ),
        (
            ["trainer.max_epochs=1.5"],
            "trainer.max_epochs: got 1.5; must be a valid integer, got a number with a fractional part",
        ),
        (["trainer.devices=2"], "trainer.devices: got 2; several devices need trainer.strategy=ddp, or trainer=ddp"),
        (
            ["trainer=ddp", "trainer.batch_size=33"],
            "trainer.batch_size: got 33; must be a multiple of devices (2)",
        ),
        (
            ["trainer.precision=16-mixed"],
            "trainer.precision: got '16-mixed'; on a CPU use '32-true' or 'bf16-mixed'",
        ),
        (
            ["tracking.uri=file:///tmp/mlruns"],
            "tracking.uri: got 'file:///tmp/mlruns'; must begin with one of "
            "sqlite://, postgresql, mysql, mssql, http://, https://, or be null",
        ),
        (
            ["clip=auto", "clip.value=50", "threshold=linear", "threshold.start=1", "threshold.end=3"],
            "threshold: got a factor of 3.0; its product with clip.value=50.0, a percentile, must be at most 100",
        ),
        (
            ["clip=quantile", "clip.value=50", "threshold=linear", "threshold.start=1", "threshold.end=3"],
            "threshold: got a factor of 3.0; its product with clip.value=50.0, a percentile, must be at most 100",
        ),
        (
            ["data=copy", "data.values=10000", "data.positions=10000"],
            "data.test_sequences: got 10000; its product with the 200240040 numbers per sequence "
            "must be at most 1000000000",
        ),
        (["data.noise=inf"], "data.noise: got inf; must be a finite number"),
        (["optimizer.weight_decay=inf"], "optimizer.weight_decay: got inf; must be a finite number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_names_the_setting_its_value_and_what_is_allowed(overrides, message):
    with pytest.raises(ConfigError) as caught:
        settings(*overrides)
    assert str(caught.value) == message


def numbers(schema, name=""):
    """Yield the name of each number in a JSON schema, with its bounds."""
    if isinstance(schema, list):
        for part in schema:
            yield from numbers(part, name)
    elif isinstance(schema, dict):
        if schema.get("type") in {"integer", "number"} and not {"const", "enum"} & schema.keys():
            yield name, schema
        for key, part in schema.items():
            yield from numbers(part, f"{name}.{key}")


@pytest.mark.parametrize("kind", [TrainConfig, CompareSettings, AdviseSettings, SearchSettings])
def test_every_number_has_bounds(kind):
    found = dict(numbers(kind.model_json_schema()))
    assert found
    assert {
        name
        for name, bounds in found.items()
        if not {"maximum", "exclusiveMaximum"} & bounds.keys() or not {"minimum", "exclusiveMinimum"} & bounds.keys()
    } <= {".$defs.NormClip.properties.order"}  # infinite: the norm is the largest magnitude


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tracking.experiment='a\nb'", r"tracking.experiment: got 'a\nb'; must have at most 4096 characters, and no "),
        ("tracking.experiment='\x1b[2J'", "tracking.experiment: got '\\x1b[2J'; must have at most 4096 characters"),
        ("tracking.experiment='\udcff'", "tracking.experiment: got '\\udcff'; must have at most 4096 characters"),
        (f"tracking.experiment={'x' * 100_000}", "tracking.experiment: got 'xxx"),
        (
            "+model.options={a%b:1}",
            "model.options: got the name 'a%b'; must consist of letters, digits, _, - and ",
        ),
        (f"+model.options={{{'x' * 240}: 1}}", "model.options: got the name 'xxx"),
        ("optimizer.lr=1e308", "optimizer.lr: got 1e+308; must be less than or equal to 10000000000"),
        ("trainer.threads=100000000", "trainer.threads: got 100000000; must be less than or equal to 1024"),
        ("data.samples=100000000000000", "data.samples: got 100000000000000; must be less than or equal to 100000000"),
        ("clip.value=inf", "clip.value: got inf; must be a finite number"),
        (
            "tracking.uri='postgresql://h:port/y'",
            "tracking.uri: it has a password, which would be stored with the run, or it cannot be parsed",
        ),
        ("tracking.artifacts='s3://bucket/x'", "tracking.artifacts: got 's3://bucket/x'; must be the path of a folder"),
    ],
    ids=lambda value: value[:30],
)
def test_values_that_no_store_or_machine_accepts_are_refused_in_a_short_line(override, message):
    with pytest.raises(ConfigError) as caught:
        settings(override)
    line = describe(caught.value)
    assert line.startswith(message)
    assert len(line) <= LINE
    assert line.isprintable()


def test_any_network_is_allowed_with_its_own_settings():
    config = settings("model._target_=torch.nn.Linear", "+model.bias=false")
    assert config.model.target == "torch.nn.Linear"
    assert config.model.model_dump()["bias"] is False


@pytest.mark.parametrize("address", ["", "/", "/:memory:", "/%3Amemory%3A", "/x.db?uri=true&mode=Memory", "/folder/"])
def test_a_store_in_memory_is_refused(address):
    uri = f"sqlite://{address}"
    with pytest.raises(ConfigError) as caught:
        settings(f"tracking.uri='{uri}'")
    allowed = "must name a file, sqlite:///path; a store in memory would be lost"
    assert str(caught.value) == f"tracking.uri: got {uri!r}; {allowed}"


@pytest.mark.parametrize("target", ["Linear", "torch nn", "torch.nn.", "a/b.c"])
def test_a_network_needs_a_dotted_path(target):
    with pytest.raises(ConfigError, match=r"^model._target_: got "):
        settings(f"model._target_='{target}'")


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        settings().seed = 1


def test_flatten_names_every_setting_by_its_dotted_name():
    flat = flatten(settings("clip=norm", "optimizer=adam", "tracking=none"))
    assert flat["clip.name"] == "norm"
    assert flat["clip.value"] == "1.0"
    assert flat["optimizer.betas"] == "(0.9, 0.999)"
    assert flat["model._target_"] == "gradclip.models.mlp.MLP"
    assert flat["tracking.uri"] == "None"
    assert flat["seed"] == "0"
    assert set(flat) <= set(setting_names())
    assert all(isinstance(value, str) for value in flat.values())


def test_setting_names_cover_every_yaml_file():
    names = set(setting_names())
    for group, option in OPTIONS:
        written = yaml.safe_load(Path(CONFIGS / group / f"{option}.yaml").read_text())
        assert {f"{group}.{name}" for name in written if name != "defaults"} <= names
