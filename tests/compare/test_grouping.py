"""Runs that differ only in seed and store are one group, of which the newest run of each seed counts."""

import pytest

from gradclip import keys
from gradclip.compare.grouping import group_runs
from gradclip.errors import ConfigError
from gradclip.tracking.stored_runs import StoredRun


def run(clip: str, seed: int, **parameters: str) -> StoredRun:
    name, _, value = clip.partition("=")
    settings = {"clip.name": name, "clip.value": value or "1.0", "seed": str(seed), "tracking.uri": f"uri{seed}"}
    dotted = {key.replace("__", "."): text for key, text in parameters.items()}
    return StoredRun(f"{clip}-{seed}-{parameters}", "", None, "FINISHED", 1.0, settings | dotted, {}, {keys.CLIP: clip})


def test_runs_that_differ_in_seed_and_store_are_one_group() -> None:
    grouping = group_runs([run("norm=1.0", 0), run("norm=1.0", 1), run("norm=5.0", 0)])
    assert grouping.by == ["clip.value"]
    assert [(group.label, len(group.runs)) for group in grouping.groups] == [("norm=1.0", 2), ("norm=5.0", 1)]
    assert not grouping.mixed


def test_labels_abbreviate_settings_like_run_names() -> None:
    grouping = group_runs([run("norm=1.0", 0, optimizer__lr=rate) for rate in ("0.1", "0.2")])
    assert [group.label for group in grouping.groups] == ["lr=0.1", "lr=0.2"]


def test_a_setting_of_some_options_is_in_the_label_only_if_needed() -> None:
    runs = [run("norm=1.0", 0, clip__order=order) for order in ("2.0", "inf")] + [run("value=1.0", 0)]
    assert [group.label for group in group_runs(runs).groups] == [
        "norm=1.0 order=2.0",
        "norm=1.0 order=inf",
        "value=1.0",
    ]


def test_the_threshold_of_runs_without_clipping_is_ignored() -> None:
    grouping = group_runs([run("none", seed, clip__value=value) for value in ("1", "2") for seed in (0, 1)])
    assert len(grouping.groups) == 1
    assert grouping.duplicates == 2


def test_an_older_run_without_validation_rows_joins_the_group_of_newer_runs() -> None:
    runs = [run("norm=1.0", 0), run("norm=1.0", 1, data__validation_fraction="0.0")]
    assert [len(group.runs) for group in group_runs(runs).groups] == [2]


def test_only_the_newest_run_of_a_seed_is_used() -> None:
    old, new = run("norm=1.0", 0), run("norm=1.0", 0, figures="False")
    grouping = group_runs([old, new])
    assert [group.runs for group in grouping.groups] == [[new]]
    assert grouping.duplicates == 1


def test_settings_that_differ_within_given_groups_are_listed() -> None:
    runs = [run("norm=1.0", 0, optimizer__lr="0.1"), run("norm=1.0", 0, optimizer__lr="0.2"), run("norm=5.0", 0)]
    grouping = group_runs(runs, by=["clip.value"])
    assert [len(group.runs) for group in grouping.groups] == [2, 1]
    assert grouping.mixed == ["optimizer.lr"]


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"by: got 'clip.valu'; no run has such a setting \(did you mean 'clip.value"):
        group_runs([run("norm=1.0", 0)], by=["clip.valu"])
