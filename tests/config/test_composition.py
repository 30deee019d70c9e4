"""Overrides reproduce a config, and a stored config is read back unchanged or refused."""

import pytest

from gradclip.config.composition import compose_config, overrides_of
from gradclip.config.identity import fingerprint
from gradclip.config.overrides import merge, train_command
from gradclip.config.schema import flatten, has_effect
from gradclip.config.serialization import from_yaml, to_yaml
from gradclip.errors import ConfigError
from gradclip.quoting import quoted

COMMANDS = [
    [],
    ["data=diabetes", "clip=norm", "clip.value=2", "seed=3", "figures=false", "trainer.threads=1"],
    ["+experiment=recurrent_norm_scaling"],
    ["+sweep=success_by_length", "data.length=20", "clip=norm"],
    ["data=copy", "model=gru", "model.truncation=20", "clip=activation"],
    ["clip=groups", "clip.groups=[{parameters: 'network.0*', value: 3}, {parameters: 'it, or [that]', value: 1e-7}]"],
    ["clip=norm", "clip.order=inf", "clip.parameters=*weight", "optimizer=adamw", "optimizer.betas=[0.8,0.9]"],
    ["clip=skip", "clip.value=null", "threshold=constant", "schedule=warmup_cosine", "loss=huber", "loss.delta=0.5"],
    ["module._target_=my.Module", "module.target=y", "data._target_=my.Data", "data.sizes=[1, 2]", "metric=val_loss"],
    ["data=adding", "module._target_=my.Module", "callbacks.stop._target_=my.Stop", "+callbacks=[early_stopping]"],
    ["callbacks.early_stopping._target_=my.Stop", "+callbacks=[learning_rate_monitor,weight_averaging]"],
    ["data._target_=my.Data", "loss=cross_entropy", "callbacks.stop._target_=my.Stop", "callbacks.stop.after=3"],
    [
        "model._target_=my.Network",
        "+model.depth=3",
        "+model.name='true'",
        r"+model.path='it\'s a\b'",
        "+model.words=[a, null, 'b c', 'größe']",
    ],
]


@pytest.mark.parametrize("overrides", COMMANDS)
def test_overrides_reproduce_the_config(overrides: list[str]) -> None:
    config = compose_config([f"seed={1 + len(overrides)}", *overrides] if "seed=3" not in overrides else overrides)
    again = flatten(compose_config(overrides_of(config)))
    assert {name: value for name, value in again.items() if has_effect(name) and name != "seed"} == {
        name: value for name, value in flatten(config).items() if has_effect(name) and name != "seed"
    }


def test_overrides_leave_out_defaults_seed_and_store() -> None:
    config = compose_config(COMMANDS[1])
    assert overrides_of(config) == ["data=diabetes", "clip=norm", "clip.value=2.0"]


def test_overrides_add_a_prepared_callback_by_its_name() -> None:
    overrides = ["data=diabetes", "+callbacks=early_stopping", "callbacks.early_stopping.patience=3"]
    assert overrides_of(compose_config(overrides)) == overrides


def test_overrides_name_the_metric_of_a_module_without_a_plus() -> None:
    overrides = ["module._target_=my.Module", "metric=val/r2", "metric_mode=max"]
    assert overrides_of(compose_config(overrides)) == overrides


def test_overrides_leave_out_a_threshold_that_is_ignored() -> None:
    assert overrides_of(compose_config(["clip=none", "clip.value=2"])) == []


@pytest.mark.parametrize("overrides", COMMANDS)
def test_a_stored_config_is_read_back_unchanged(overrides: list[str]) -> None:
    config = compose_config([*overrides, "tracking.trusted_models=['*.*.*.*', '*.*.*', '*.*']"])
    assert from_yaml(to_yaml(config), config.tracking, "run") == config


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a\n- b", "run: the stored config is not a mapping"),
        ("a: [", "run: the stored config is not YAML"),
        ("!!python/object/apply:os.system [true]", "run: the stored config holds an alias or a tag"),
        ("{}", "data: missing"),
        ("a: " + "[" * 100_000, "run: the stored config is (nested more than 20 deep|not YAML)"),
        ("a: " + "{a: " * 100 + "1" + "}" * 100, "run: the stored config is nested more than 20 deep"),
        ("a: &a [1, 2]\nb: [*a, *a]", "run: the stored config holds an alias or a tag"),
        (f"seed: {'9' * 5000}", "run: the stored config is not YAML"),
        ("seed: \udcff", "run: the stored config is not YAML"),
    ],
)
def test_a_damaged_config_is_refused(text: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        from_yaml(text, compose_config([]).tracking, "run")


def test_an_untrusted_model_is_refused() -> None:
    config = compose_config(COMMANDS[-1])
    with pytest.raises(ConfigError, match=r"names 'my\.Network'; only gradclip\.models\.\*\.\*, torch\.nn\.\*, "):
        from_yaml(to_yaml(config), config.tracking, "run")


@pytest.mark.parametrize("name", ["module._target_", "data._target_", "callbacks.stop._target_"])
def test_every_class_must_be_trusted(name: str) -> None:
    config = compose_config([f"{name}=my.Class"])
    with pytest.raises(ConfigError, match=r"^tracking\.trusted_models: the stored config names 'my\.Class'; only"):
        from_yaml(to_yaml(config), config.tracking, "run")
    assert from_yaml(to_yaml(config), config.tracking, "run", began_with=fingerprint(config)) == config
    trusting = compose_config([f"{name}=my.Class", "tracking.trusted_models=[gradclip.models.*.*, my.*]"])
    assert from_yaml(to_yaml(trusting), trusting.tracking, "run") == trusting


def test_overrides_that_do_not_compose_are_refused() -> None:
    with pytest.raises(ConfigError, match="clip=gone: cannot be composed"):
        compose_config(["clip=gone"])


def test_merged_overrides_replace_the_original_ones() -> None:
    base = ["+experiment=recurrent_norm_scaling", "clip.value=3", "optimizer.lr=0.1"]
    changed = merge(base, ["clip=none", "optimizer.lr=0.2"])
    assert changed == ["+experiment=recurrent_norm_scaling", "clip=none", "optimizer.lr=0.2"]
    assert compose_config(changed).clip.name == "none"


def test_the_command_is_quoted_for_the_shell() -> None:
    assert train_command(["clip.parameters=*weight"]) == "python src/train.py 'clip.parameters=*weight'"


@pytest.mark.parametrize("text", ["größe", 'a"b', "it's", r"a\b", r"a\"b", "ends in \\", r'\\"\\', "a, [b]"])
def test_hydra_reads_a_quoted_text_unchanged(text: str) -> None:
    assert compose_config([f"tracking.experiment={quoted(text)}"]).tracking.experiment == text
