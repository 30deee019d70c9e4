"""Arguments that Hydra would misread are refused in one line, and globs become the options that they match."""

from pathlib import Path

import pytest

from gradclip.cli.arguments import (
    MAX_JOBS,
    SEARCH,
    check_arguments,
    quoted_for_hydra,
    with_globs_expanded,
    with_home_folder,
)
from gradclip.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["=1"], "=1: got no name; write name=value"),
        (["+=1"], "+=1: got no name; write name=value"),
        (["hydra=null"], "hydra=null: no such setting; name one setting of Hydra, such as hydra.run.dir"),
        (["x" * 600 + "=1"], f"{'x' * 600}: got a name of 600 characters; at most 250 are allowed"),
        (["clip=" + "x" * 600], f"clip={'x' * 600}: no such option; choose from activation,"),
        (
            ["model.widths=" + "[" * 500 + "]" * 500],
            f"model.widths={'[' * 500}{']' * 500}: got values nested",
        ),
        (["+model.x=" + "{a:" * 30 + "1" + "}" * 30], "+model.x={a:"),
        (["seed=" + "9" * 5000], f"seed={'9' * 5000}: cannot be parsed: Exceeds the limit"),
        (["hydra.run.dir="], "hydra.run.dir=: got no folder; write hydra.run.dir=path"),
        (["-m", "hydra.sweep.dir=''"], "hydra.sweep.dir='': got no folder"),
        (["-m", "seed=range(0)"], "seed=range(0): got no value; a sweep needs at least one"),
        (["-m", "seed=range(1,5,0)"], "seed=range(1,5,0): range() arg 3 must not be zero"),
        (["-m", "seed=range(0,1e12)"], f"seed=range(0,1e12): got more than {MAX_JOBS} jobs"),
        (["-m", "seed=shuffle(range(0,10000000000))"], "seed=shuffle(range(0,10000000000)): got more than"),
        (
            ["-m", SEARCH, "x=1,2", "seed=range(0,10000000000)"],
            "seed=range(0,10000000000): got more than 100000 values",
        ),
        (["-m", SEARCH, "x=range(0,1,1e-9)"], "x=range(0,1,1e-9): got more than 100000 values"),
        (
            ["-m", "seed=range(0,1000)", "clip=norm", "clip.value=range(1,1000)"],
            "seed=range(0,1000) clip.value=range(1,1000): got m",
        ),
        (["--nope"], "unrecognized arguments: --nope; --help shows the settings, --hydra-help all flags"),
        (["--cfg", "nope"], "argument --cfg/-c: invalid choice: 'nope'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_arguments_that_hydra_cannot_handle_are_refused(arguments: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_arguments(arguments, "train")
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("command", ["compare", "advise"])
def test_only_train_accepts_multirun(command: str) -> None:
    with pytest.raises(ConfigError, match=r"only src/train.py runs several jobs"):
        check_arguments(["-m"], command)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "seed=range(20000)", "clip=norm,value", "+experiment=[a,b]", "hydra.launcher.n_jobs=2"],
        [
            "-m",
            "hydra/sweeper=search",
            "clip=norm",
            "threshold.steps=range(1,1000000)",
            "clip.value=tag(log,interval(0.1,10))",
        ],
        ["-m", "clip=choice(norm,value)", "optimizer=shuffle(sgd, adam)", "+experiment=[explosion, huber_loss]"],
        ["-m", "clip=sort(norm,value,reverse=true)", "loss=tag(short,shuffle(choice(mse,mae)))"],
        ["-m", "+experiment=[explosion,huber_loss],[norm_scaling]", "clip=str(norm)"],
        ["clip.groups=[{parameters: '((', value: 1}]", "~seed", "data.path='a (1).csv'", "--cfg", "job"],
    ],
)
def test_valid_arguments_are_accepted(arguments: list[str]) -> None:
    check_arguments(arguments, "train")


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("clip=glob(x*)", "clip: got glob(x*); must match one of activation, adaptive,"),
        ("clip.value=glob(*)", "clip.value: got glob(*); glob() needs a group, such as clip"),
    ],
)
def test_a_glob_that_matches_no_option_is_refused(argument: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_globs_expanded(["-m", argument])
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("clip=sort(norm,../value,reverse=true)", "no such option; choose from activation,"),
        ("clip=shuffle(range(0,100000000000))", "no such option; choose from activation,"),
        ("clip=interval(0,1)", "no such option; choose from activation,"),
        ("+experiment=[[explosion]]", "no such option; choose from explosion,"),
        ("clip=sort([norm,value])", "choose one option; to run several, use -m clip=a,b"),
    ],
)
def test_a_function_lists_only_options_of_the_group(argument: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_arguments(["-m", argument], "train")
    assert str(caught.value).startswith(f"{argument.lstrip('+')}: {reason}")


@pytest.mark.parametrize("added", [["--config-dir", "FOLDER"], ["hydra.searchpath=[file://FOLDER]"]])
def test_a_glob_finds_the_options_of_all_folders_that_hydra_searches(added: list[str], tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip/mine.yaml").touch()
    flags = [text.replace("FOLDER", str(tmp_path)) for text in added]
    assert with_globs_expanded(["-m", *flags, "clip=glob([mi*,no*],exclude=norm*)"])[-1] == "clip=mine,none"


def test_a_glob_becomes_the_options_that_it_matches() -> None:
    assert with_globs_expanded(["+experiment=glob([target*,h*],exclude=*ized)"]) == ["+experiment=huber_loss"]
    assert with_globs_expanded(["model.path='a=glob('"]) == ["model.path='a=glob('"]


@pytest.mark.parametrize(
    ("argument", "quoted"),
    [
        ("data.target=größe", 'data.target="größe"'),
        ("data.target=price (€)", 'data.target="price (€)"'),
        ("data.target='price (€)'", "data.target='price (€)'"),
        ("data.path=~/größe (2).csv", "data.path=~/größe (2).csv"),  # quoted when ~ is expanded
        ("data.target=price,size", "data.target=price,size"),  # two values of a multirun
        ("data.path=choice(a.csv,b.csv)", "data.path=choice(a.csv,b.csv)"),
        ("data.exclude=[id, größe]", 'data.exclude=["id","größe"]'),
        ('data.exclude=["a,b",id]', 'data.exclude=["a,b",id]'),
    ],
)
def test_names_of_columns_need_no_quotes_for_hydra(argument: str, quoted: str) -> None:
    assert quoted_for_hydra(argument, argument.partition("=")[0]) == quoted
    check_arguments(with_home_folder(["data=table", quoted]), "train")
