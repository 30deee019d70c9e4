"""The overrides that make a run again."""

from dataclasses import replace

import pytest

from gradclip import keys
from gradclip.advise.overrides import base_overrides, command, merge, parameters_of
from gradclip.errors import ConfigError
from tests.support.evidence import made_run


def test_overrides_are_those_that_were_typed_without_seed_and_store() -> None:
    run = made_run()
    typed = "python src/train.py data=diabetes clip=norm clip.value=2 seed=3 tracking.experiment=mine figures=false"
    run = replace(run, tags={keys.COMMAND: typed}, parameters={})
    assert base_overrides(run) == ["data=diabetes", "clip=norm", "clip.value=2"]


def test_what_a_sweep_file_set_is_kept() -> None:
    typed = ["+sweep=success_by_length", "data.length=20", "clip=norm", "seed=1"]
    made = parameters_of(typed)
    run = replace(made_run(), tags={keys.COMMAND: " ".join(["python", "src/train.py", *typed])}, parameters=made)
    base = base_overrides(run)
    assert "optimizer.lr=0.3" in base
    again = parameters_of(base)
    assert {name for name in made if again.get(name) != made[name]} <= {"seed", "figures", "log_model"}


def test_a_command_that_composes_no_more_is_told() -> None:
    run = replace(made_run(), tags={keys.COMMAND: "python src/train.py clip=gone"})
    with pytest.raises(ConfigError, match="run: its command cannot be composed any more"):
        base_overrides(run)


def test_changes_replace_what_they_change() -> None:
    base = ["+experiment=recurrent_norm_scaling", "clip.value=3", "optimizer.lr=0.1"]
    assert merge(base, ["clip=none", "optimizer.lr=0.2"]) == [
        "+experiment=recurrent_norm_scaling", "clip=none", "optimizer.lr=0.2",
    ]  # fmt: skip
    assert parameters_of(merge(base, ["clip=none", "optimizer.lr=0.2"]))["clip.name"] == "none"


def test_the_command_can_be_typed() -> None:
    assert command(["clip.parameters=*weight"]) == "python src/train.py 'clip.parameters=*weight'"
