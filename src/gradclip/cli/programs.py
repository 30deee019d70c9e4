"""Entry points of the commands, for the scripts in ``src/`` and for ``gradclip``; this module imports nothing heavy."""

import re
import sys
from importlib import import_module

import hydra
from omegaconf import DictConfig

from gradclip.cli.arguments import quoted_for_hydra
from gradclip.cli.entry import errors_in_one_line, run_command
from gradclip.config.paths import CONFIG_FOLDER
from gradclip.terminal import standard_output

COLUMNS = ("target", "time", "group", "features", "exclude", "categorical")
TEXTS = ("data.path", *(f"data.{name}" for name in COLUMNS))  # settings with names of files and columns
CONFIGS = {"version_base": "1.3", "config_path": str(CONFIG_FOLDER)}


def train() -> int:
    """Train a network, clip its gradients, and track the run.

    python src/train.py clip=norm clip.value=1.0                                one run
    python src/train.py -m clip=norm clip.value=0.1,1,10 seed=0,1,2             every combination
    python src/train.py +experiment=explosion                                   a run prepared under conf/experiment
    python src/train.py -m +sweep=norm_thresholds                               many runs prepared under conf/sweep
    """
    sys.argv = [quoted_for_hydra(argument, *TEXTS) for argument in sys.argv]
    return run_command(_train, "train", str(train.__doc__))


@hydra.main(config_name="train", **CONFIGS)  # type: ignore[untyped-decorator]
def _train(config: DictConfig) -> None:
    """Run one job: a single run, or one of a multirun."""
    with standard_output():
        from gradclip.cli.train import run_job

        run_job(config)


def compare() -> int:
    """Compare stored runs over seeds, without training.

    python src/compare.py                                                  the last multirun
    python src/compare.py runs=gradclip by=[clip.name,clip.value]          an experiment, grouped by these settings
    python src/compare.py "runs=tags.outcome != 'stalled'"                 the runs that an MLflow filter selects
    python src/compare.py target=100                                       the epoch in which the MSE falls below 100
    """
    return _run("compare", str(compare.__doc__), "runs", "data_set")


def advise() -> int:
    """Advise on a stored run, or on any log of gradient norms: which clipping to try at which threshold, and why.

    python src/advise.py                                                   the newest run
    python src/advise.py experiment=gradclip                               the newest run of an experiment
    python src/advise.py run=0123456789abcdef0123456789abcdef              the run with this id
    python src/advise.py probe=true                                        measure in short training runs what helps
    python src/advise.py confirm=true seeds=20                             test the advice over 20 seeds
    python src/advise.py log=norms.csv                                     another program's log (exit code 3: problem)
    python src/advise.py log=trainer_state.json output=json                the same as JSON
    python src/advise.py run=0123456789abcdef0123456789abcdef metric=grad_norm    a metric of any run in the store
    """
    # Hydra would read experiment= as an option of the group with that name.
    sys.argv = [re.sub("^experiment=", "tracking.experiment=", argument) for argument in sys.argv]
    return _run("advise", str(advise.__doc__), "log")


def predict() -> int:
    """Predict the rows of a file with the stored model of a run, and write them with a column of predictions.

    python src/predict.py data=new.csv                                     with the model of the newest run
    python src/predict.py run=0123456789abcdef0123456789abcdef data=new.csv output=predictions.csv
    """
    # Hydra would read data= as an option of the group with that name.
    sys.argv = [re.sub("^data=", "data.path=", argument) for argument in sys.argv]
    return _run("predict", str(predict.__doc__), "data.path", "output")


def sync() -> int:
    """Send writes that the store did not accept during training; they wait in the folders of the runs.

    python src/sync.py                      everything below mlruns
    python src/sync.py mlruns/hydra/runs    everything below another folder
    python src/sync.py --adopt FOLDER       writes of another user or machine too
    """
    from gradclip.cli.sync import run_sync

    return run_sync(sys.argv[1:], str(sync.__doc__))


def ui() -> int:
    """Serve the MLflow UI for the store in mlruns/, on this machine only, until Ctrl-C.

    gradclip ui              at http://127.0.0.1:5000
    gradclip ui port=5001    on another port
    """
    from gradclip.cli.ui import run_ui

    run_ui(sys.argv[1:], str(ui.__doc__))
    return 0


def _run(command: str, usage: str, *texts: str) -> int:
    """Run a command that is never a multirun; its module is imported once the config is composed.

    Args:
        command: name of the command, of its config and of its module, which has a function ``run``.
        usage: first lines of the help.
        texts: settings whose values are texts with any characters.
    """
    sys.argv = [quoted_for_hydra(argument, *texts) for argument in sys.argv]

    @hydra.main(config_name=command, **CONFIGS)  # type: ignore[untyped-decorator]
    def main(config: DictConfig) -> None:
        with standard_output(), errors_in_one_line(command):
            import_module(f"gradclip.cli.{command}").run(config)

    return run_command(main, command, usage)
