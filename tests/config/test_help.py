"""``--help`` describes every option and every setting of the chosen options."""

import re

import pytest
import yaml

from gradclip.config.composition import compose_config
from gradclip.config.help import WHOLE_CONFIG, help_text
from gradclip.config.paths import CONFIG_FOLDER
from gradclip.config.schema import leaves
from gradclip.errors import ConfigError

GROUP_OF = {path: path.parent.relative_to(CONFIG_FOLDER).as_posix() for path in CONFIG_FOLDER.glob("*/**/*.yaml")}
OPTIONS = sorted(GROUP_OF)
NO_SETTINGS = {"name", "_target_", "defaults", "hydra"}  # these choose an option or are explained elsewhere


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{GROUP_OF[path]}={path.stem}")
def test_every_option_has_a_description(path):
    paragraphs = help_text("train", "").split("\n\n")
    (options,) = [paragraph.splitlines() for paragraph in paragraphs if paragraph.startswith(f"{GROUP_OF[path]}\n")]
    (line,) = [line for line in options if line[3:].split()[:1] == [path.stem]]
    assert len(line[3:].split()) > 1
    assert line.endswith(".")


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{GROUP_OF[path]}={path.stem}")
def test_every_setting_has_a_description(path):
    group, option = GROUP_OF[path], path.stem
    if group in WHOLE_CONFIG:
        return
    shown = help_text("train", "", [f"{group}={option}"]).splitlines()
    found = yaml.safe_load(path.read_text())
    if group == "callbacks":
        ((callback, found),) = found.items()
        group = f"{group}.{callback}"
    for name in set(found) - NO_SETTINGS:
        (line,) = [line for line in shown if line.startswith(f"   {group.replace('/', '.')}.{name}=")]
        _, _, meaning = line.strip().partition("  ")
        assert meaning or len(line.split()) > 2, line


def test_the_chosen_option_is_marked_and_an_unknown_option_is_refused():
    assert " * huber " in help_text("train", "", ["loss=huber"])
    assert " * mse " in help_text("train", "")
    with pytest.raises(ConfigError, match=r"^loss: got 'huberr' \(did you mean 'huber'\?\); choose from auto, "):
        help_text("train", "", ["loss=huberr"])


@pytest.mark.parametrize(
    ("primary", "word", "answer"),
    [
        ("train", "zscore", "clip=zscore"),
        ("train", "own", "data=own or module=own"),
        ("train", "loss", "loss=option; choose from auto, "),
        ("train", "clip.value", "clip=option; choose from activation, "),
        ("compare", "by", "group=option, where the group is tracking, or --help alone for everything"),
    ],
)
def test_a_word_alone_is_refused_with_what_to_write(primary, word, answer):
    with pytest.raises(ConfigError, match=f"^--help: got {word!r}; write {re.escape(answer)}"):
        help_text(primary, "", [word])


def test_help_on_an_option_shows_only_that_option():
    shown = help_text("train", "usage", ["clip=zscore"])
    assert shown.startswith("clip\n * zscore ")
    assert "   clip.warmup=25 " in shown
    assert not {"usage", "optimizer", " none "} & set(shown.splitlines())
    assert "optimizer." not in shown


def test_options_that_another_option_chooses_are_shown():
    shown = help_text("train", "", ["data=temporal_order", "model=gru"])
    assert " * gru " in shown
    assert " * cross_entropy " in shown
    assert "   model.hidden_size=50" in shown
    assert " * rnn " in help_text("train", "", ["+experiment=recurrent_explosion", "data=temporal_order"])


@pytest.mark.parametrize(
    "path",
    [path for path in OPTIONS if GROUP_OF[path] in WHOLE_CONFIG],
    ids=lambda path: f"{GROUP_OF[path]}={path.stem}",
)
def test_settings_of_an_experiment_are_shown_once_by_their_names_with_its_values(path):
    assert "# @package _global_" in path.read_text()
    chosen = f"+{GROUP_OF[path]}={path.stem}"
    settings = dict(leaves(compose_config([chosen])))
    shown = help_text("train", "", [chosen]).partition("Settings (change with name=value):")[2]
    rows = [row.strip().partition("=") for row in shown.splitlines() if row.startswith("   ") and " hydra." not in row]
    assert len(rows) == len({name for name, _, _ in rows})
    for name, _, value_and_meaning in rows:
        value, _, meaning = value_and_meaning.partition(" ")
        assert meaning.strip(), name
        assert name in settings
        if isinstance(settings[name], float):
            assert float(value) == settings[name], name
