"""The label of a group is short and names what distinguishes it."""

from dataclasses import replace

import pytest

from gradclip import keys
from gradclip.compare.grouping import group_runs
from gradclip.compare.labels import MAX_LABEL_LENGTH, experiment_of, typed_overrides
from gradclip.tracking.stored_runs import StoredRun
from tests.compare.test_grouping import run


def typed(command: str, clip: str = "none", seed: int = 0, **parameters: str) -> StoredRun:
    found = run(clip, seed, **parameters)
    return replace(found, tags=found.tags | {keys.COMMAND: f"python src/train.py {command}"})


def labels(runs: list[StoredRun], by: list[str] | None = None) -> list[str]:
    return [group.label for group in group_runs(runs, by).groups]


def test_prepared_experiments_are_labelled_with_their_names() -> None:
    runs = [
        typed("+experiment=explosion seed=0", loss__name="mse"),
        typed("+experiment=huber_loss seed=0", loss__name="huber"),
        typed("+experiment=norm_scaling seed=0", "norm=1.0", loss__name="mse"),
    ]
    assert labels(runs) == ["explosion", "huber_loss", "norm_scaling"]


def test_labels_within_an_experiment_show_the_differing_settings() -> None:
    runs = [typed("+experiment=huber_loss", optimizer__lr=rate) for rate in ("0.1", "0.2")] + [
        typed("+experiment=explosion", "norm=1.0", optimizer__lr="0.1"),
    ]
    assert labels(runs) == ["huber_loss lr=0.1", "huber_loss lr=0.2", "explosion"]


@pytest.mark.parametrize(
    ("by", "expected"), [("clip.name", "norm, 2 thresholds"), ("optimizer.lr", "lr=0.1, 2 settings mixed")]
)
def test_the_label_of_a_group_that_mixes_values_says_so(by: str, expected: str) -> None:
    runs = [
        *(run(f"norm={value}", seed, optimizer__lr="0.1") for value in (1.0, 5.0) for seed in (0, 1)),
        run("value=1.0", 0, optimizer__lr="0.1"),
        run("value=1.0", 0, optimizer__lr="0.2"),
    ]
    assert labels(runs, [by])[0] == expected


def test_a_label_is_short_and_never_cut_within_a_word() -> None:
    long = {f"model.setting_number_{number}": ("1", "2") for number in range(6)}
    runs = [
        replace(one, parameters=one.parameters | {name: values[index] for name, values in long.items()})
        for index in (0, 1)
        for one in [run("norm=1.0", 0)]
    ]
    found = labels(runs)
    assert found == ["setting_number_0=1", "setting_number_0=2"]
    huge = [run("norm=1.0", 0, model__layers="9" * 200 + str(number)) for number in range(2)]
    assert labels(huge) == ["group (1)", "group (2)"]
    assert all(len(label) <= MAX_LABEL_LENGTH for label in found)


def test_labels_name_the_option_and_every_setting_that_distinguishes_groups() -> None:
    sgd, adam = {"name": "sgd", "lr": "0.01"}, {"name": "adam", "lr": "0.001", "betas": "(0.9, 0.999)"}
    runs = [
        run(clip, 0, trainer__batch_size=size, **{f"optimizer__{name}": value for name, value in optimizer.items()})
        for clip in ("activation=10.0", "parameter_norm=1.0")
        for size in ("16", "64")
        for optimizer in (sgd, adam)
    ]
    found = group_runs(runs).groups
    assert [group.label for group in found[:3]] == [
        "activation=10.0 optimizer=sgd batch_size=16",
        "activation=10.0 optimizer=adam batch_size=16",
        "activation=10.0 optimizer=sgd batch_size=64",
    ]
    assert not any("(1)" in group.label for group in found)


def test_any_text_in_the_command_tag_is_accepted() -> None:
    one = typed("-m +experiment=a 'clip.value=1' seed=0")
    assert typed_overrides(one) == ["+experiment=a", "clip.value=1", "seed=0"]
    assert experiment_of(typed("clip.value='")) == ""
