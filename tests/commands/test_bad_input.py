"""Invalid input to the command ``train``: one line, exit code 2, nothing left in the store."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.conftest import Command, SearchRuns, assert_one_error_line

BAD_OVERRIDES = [
    (["clip=nrm"], "clip=nrm: no such option (did you mean 'norm'?); choose from activation, "),
    (["clip=1.0"], "clip=1.0: no such option; choose from activation, "),
    (["-m", "clip=norm,null"], "clip=norm,null: no such option; choose from activation, "),
    (["clip=[norm,value]"], "clip=[norm,value]: choose one option; to run several, use -m clip=a,b"),
    (["optimizer=nan"], "optimizer=nan: no such option; choose from adam, "),
    (["clip=*"], "clip=*: no such option; choose from activation, "),
    (["@seed=1"], "@seed=1: no such option; a setting's name has no @"),
    (["~clip=2"], "clip=2: no such option; choose from activation, "),
    (["clipp=norm"], "clipp: no such setting or group (did you mean 'clip'?)"),
    (["clip.valu=1"], "clip.valu: no such setting or group (did you mean 'clip.value'?)"),
    (["+clip.valu=1"], "clip.valu: no such setting (did you mean 'clip.value'?)"),
    (["experiment=explosion"], "experiment: write it with a plus, +experiment=...; choose from explosion,"),
    (
        ["clip=groups", "clip.groups=[{parameters: head, value: 1}]"],
        "clip: got parameters='head'; must match one of the parameters",
    ),
    (
        ["clip=activation", "clip.layers=head", "tracking=none"],
        "clip.layers: got 'head'; matches none of the layers network.0,",
    ),
    (["clip=value", "clip.lower=1"], "clip.lower: got 1; must be less than or equal to 0"),
    (["threshold=linear"], "threshold: got 'linear'; clip=none has no threshold to change"),
    (["clip=norm", "clip.value=abc"], "clip.value: got 'abc'; must be a valid number"),
    (["clip=norm", "clip.value=0"], "clip.value: got 0; must be greater than 0"),
    (["clip=norm", "clip.value=-1.5"], "clip.value: got -1.5; must be greater than 0"),
    (["clip=norm", "clip.value=nan"], "clip.value: got nan; must be a finite number"),
    (["clip=norm", "clip.value=inf"], "clip.value: got inf; must be a finite number"),
    (["clip.value=1.0"], "clip.value: got 1.0; clip=none has no threshold; choose a method, such as clip=norm"),
    (["-m", "clip.value=1,2", "seed=0,1"], "clip.value: got 1,2; clip=none has no threshold; choose a method, such as"),
    (["clip=norm,value"], "clip=norm,value: several values need --multirun (-m)"),
    (["clip.value=[1"], "clip.value=[1: cannot be parsed; write name=value"),
    (["-m", "clip.value=1,"], "clip.value=1,: cannot be parsed; write name=value (it ends too early: after a comma"),
    (["-m", "clip=norm,nrm"], "clip=nrm: no such option (did you mean 'norm'?)"),
    (["data=table"], "data.path: missing; give data.path=..."),
    (["data=table", "data.path=/no/such.csv", "data.target=y"], "data.path: got '/no/such.csv'; there is no such file"),
    (["trainer.batch_size=0"], "trainer.batch_size: got 0; must be greater than 0"),
    (["trainer.batch_size=501", "tracking=none"], "trainer.batch_size: got 501; there are 500 training rows"),
    (
        ["model._target_=torch.nn.Nope", "tracking=none"],
        "model._target_: got 'torch.nn.Nope'; must be the dotted path of",
    ),
    (
        ["data=temporal_order", "data.length=9", "tracking=none"],
        "data.length: got 9; must be a whole number from 10 to 2147483647",
    ),
    (["data=temporal_order", "data.length=0"], "data.length: got 0; must be greater than 0"),
    (["data=temporal_order", "data.symbols=4"], "data.symbols: got 4; must be 2 or 3"),
    (["data=adding", "data.test_sequences=150"], "data.test_sequences: got 150; must be a multiple of 100"),
    (["data=adding", "loss=cross_entropy"], "loss: got 'cross_entropy'; the target of data=adding is numeric, choose"),
    (["data=copy", "loss=mse"], "loss: got 'mse'; the target of data=copy has classes, choose cross_entropy"),
    (["data=copy", "model=lstm", "model.dropout=0.1"], "model.dropout: got 0.1; it acts between layers, and model."),
    (["data=copy", "model=gru", "model.nonlinearity=tanh"], "model.nonlinearity: not a setting of the chosen option;"),
    (["data.path=homes.csv"], "data.path: not a setting of the chosen option; it belongs to data=series, data=table"),
    (["data=adding", "model=mlp", "tracking=none"], "model._target_: gradclip.models.mlp.MLP turns 2 examples into"),
    (["model=rnn", "tracking=none"], "model._target_: gradclip.models.recurrent.RNN "),
    pytest.param(
        ["trainer.accelerator=gpu", "tracking=none"],
        "trainer.accelerator: got 'gpu' with devices=1; ",
        marks=pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU"),
    ),
    (["trainer.stop_when_solved=true"], "trainer.stop_when_solved: got True; data=regression has no solved_at"),
    (["data=series", "data.path=/no/such.csv"], "data.target: missing; give data.target=..."),
    (["model.activation=rel"], "model.activation: got 'rel'; must be 'relu', "),
    (["tracking.uri=sqlite:////dev/null/x.db"], "tracking.uri: got 'sqlite:////dev/null/x.db'; cannot be opened: "),
    (["tracking.uri=http://127.0.0.1:9"], "tracking.uri: got 'http://127.0.0.1:9'; no MLflow server answers there"),
    (
        ["hydra.run.dir=/proc/runs"],
        "hydra.run.dir: got '/proc/runs'; cannot be written: No such file or directory",
    ),
    (
        ["-m", "seed=0", "hydra.sweep.dir=/dev/null/x"],
        "hydra.sweep.dir: got '/dev/null/x'; cannot be written: Not a d",
    ),
    (["hydra.run.dir=${hydra.run.dir}"], "hydra.run.dir: Recursive interpolation detected"),
    (["hydra=null"], "hydra=null: no such setting; name one setting of Hydra, such as hydra.run.dir"),
    (
        ["--resolve"],
        "The --resolve flag can only be used in conjunction with --cfg or --help; HYDRA_FULL_ERROR=1",
    ),
    (["-m", "seed=0", "hydra.sweep.subdir=x"], "hydra.sweep.subdir: got 'x'; must be one name containing ${hydra.job."),
    (["-m", "seed=interval(0,1)"], "interval(...): a grid needs separate values; list them, or search the range"),
    (
        ["-m", "seed=0", "hydra/launcher=vectorized_joblib", "hydra.launcher.chunk=0"],
        "hydra.launcher.chunk: got 0; must",
    ),
    (["tracking.uri=sqlite:////tmp"], "tracking.uri: got '/tmp'; that is not a file"),
    (["tracking.uri=./mlruns"], "tracking.uri: got './mlruns'; must begin with one of sqlite://, "),
]


@pytest.mark.parametrize(
    ("overrides", "message"), BAD_OVERRIDES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_invalid_settings_print_one_line_and_leave_nothing_behind(
    train: Command, runs: SearchRuns, store_folder: Path, overrides: list[str], message: str
) -> None:
    before = {run.info.run_id for run in runs()}, set(store_folder.rglob("mlruns/**"))
    done = train(*overrides)
    assert_one_error_line(done, message)
    assert ({run.info.run_id for run in runs()}, set(store_folder.rglob("mlruns/**"))) == before


GOOD_TABLE = pd.DataFrame({"x": np.arange(60.0), "text": ["a"] * 60, "y": np.arange(60.0) ** 2})
BAD_TABLES = [
    (GOOD_TABLE, ["data.target=z"], "data.target: got 'z'; no such column"),
    (GOOD_TABLE, ["data.target=text"], "data.target: column 'text' has a single class ('a') in the training rows"),
    (
        GOOD_TABLE.assign(text=list("ab" * 30)),
        ["data.target=text", "loss=huber"],
        "loss: got 'huber'; the target 'text' has classes, choose cross_entropy",
    ),
    (GOOD_TABLE.assign(y=3.0), ["data.target=y", "data.features=[x]"], "data.target: column 'y' is constant (3.0)"),
    (
        GOOD_TABLE.assign(x=[1.0, np.nan] * 30),
        ["data.target=y", "data.features=[x]"],
        "data.features: missing in 'x' (30, first in row 2) (rows are counted from 1, without the header); to ",
    ),
    (
        GOOD_TABLE.assign(y=[0.0] * 59 + [np.inf]),
        ["data.target=y", "data.features=[x]"],
        "data.target: infinite, or larger than 3.4e+38, in 'y' (row 60: inf, 1 in total)",
    ),
    (GOOD_TABLE.iloc[:0], ["data.target=y"], "data.path: the file has a header but no rows"),
    (
        GOOD_TABLE.iloc[:9],
        ["data.target=y", "data.features=[x]"],
        "trainer.batch_size: got 32; there are 4 training rows",
    ),
    (None, ["data.target=y"], "data.path: got "),
]


@pytest.mark.parametrize(("frame", "overrides", "message"), BAD_TABLES, ids=[message for _, _, message in BAD_TABLES])
def test_invalid_tables_print_one_line_and_leave_no_run_behind(
    train: Command, runs: SearchRuns, tmp_path: Path, frame: pd.DataFrame | None, overrides: list[str], message: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("") if frame is None else frame.to_csv(path, index=False)
    before = {run.info.run_id for run in runs()}
    done = train("data=table", f"data.path={path}", *overrides)
    assert_one_error_line(done, message)
    assert {run.info.run_id for run in runs()} == before
