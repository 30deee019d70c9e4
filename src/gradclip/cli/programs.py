"""The commands, as the scripts of ``src/`` and the command ``gradclip`` start them. Nothing heavy is imported here."""

import re
import sys

import hydra
from omegaconf import DictConfig

from gradclip.cli.arguments import quoted_for_hydra
from gradclip.cli.entry import errors_in_one_line, run_command
from gradclip.config.paths import CONFIG_FOLDER
from gradclip.terminal import standard_output

CONFIGS = {"version_base": "1.3", "config_path": str(CONFIG_FOLDER)}


def train() -> int:
    """Train a network, clip its gradients, and track the run.

    python src/train.py clip=norm clip.value=1.0                                one run
    python src/train.py -m clip=norm clip.value=0.1,1,10 seed=0,1,2             every combination
    python src/train.py +experiment=explosion                                   a run prepared under conf/experiment
    python src/train.py -m +sweep=norm_thresholds                               many runs prepared under conf/sweep
    """
    return run_command(_train, "train", str(train.__doc__))


@hydra.main(config_name="train", **CONFIGS)  # type: ignore[untyped-decorator]
def _train(config: DictConfig) -> None:
    """Run one job: a single run, or one of a multirun."""
    with standard_output():
        from gradclip.cli.train import run_job

        run_job(config)


def compare() -> int:
    """Compare stored runs over seeds; trains nothing.

    python src/compare.py                                                  the last multirun
    python src/compare.py runs=gradclip by=[clip.name,clip.value]          all runs of an experiment, by some settings
    python src/compare.py "runs=tags.outcome != 'stalled'"                 the runs that an MLflow filter selects
    python src/compare.py target=100                                       when does the MSE fall below 100?
    """
    sys.argv = [quoted_for_hydra(quoted_for_hydra(argument, "runs"), "data_set") for argument in sys.argv]
    return run_command(_compare, "compare", str(compare.__doc__))


@hydra.main(config_name="compare", **CONFIGS)  # type: ignore[untyped-decorator]
def _compare(config: DictConfig) -> None:
    """Compare stored runs and print what was found."""
    with standard_output(), errors_in_one_line("compare"):
        from gradclip.cli.compare import run_comparison

        run_comparison(config)


def advise() -> int:
    """Advise on a stored run, or on any log of gradient norms: which clipping to try at which threshold, and why.

    python src/advise.py                                                   the run that was started last
    python src/advise.py experiment=gradclip                               the last one of an experiment
    python src/advise.py run=0123456789abcdef0123456789abcdef              a run
    python src/advise.py probe=true                                        measure what helps in short trainings
    python src/advise.py confirm=true seeds=20                             try the advice over 20 seeds
    python src/advise.py log=norms.csv                                     a log of another program: exit code 0 or 3
    python src/advise.py log=trainer_state.json output=json                the same for programs
    python src/advise.py run=0123456789abcdef0123456789abcdef metric=grad_norm    a metric of any run in the store
    """
    # Hydra would take experiment= for a choice from the group of that name.
    sys.argv = [re.sub("^experiment=", "tracking.experiment=", argument) for argument in sys.argv]
    sys.argv = [quoted_for_hydra(argument, "log") for argument in sys.argv]
    return run_command(_advise, "advise", str(advise.__doc__))


@hydra.main(config_name="advise", **CONFIGS)  # type: ignore[untyped-decorator]
def _advise(config: DictConfig) -> None:
    """Print what to try after a run."""
    with standard_output(), errors_in_one_line("advise"):
        from gradclip.cli.advise import run_advice

        run_advice(config)


def predict() -> int:
    """Predict the rows of a file with the stored model of a run, and write them with a column of predictions.

    python src/predict.py data=new.csv                                     with the run that was started last
    python src/predict.py run=0123456789abcdef0123456789abcdef data=new.csv output=predictions.csv
    """
    # Hydra would take data= for a choice from the group of that name.
    sys.argv = [re.sub("^data=", "data.path=", argument) for argument in sys.argv]
    sys.argv = [quoted_for_hydra(quoted_for_hydra(argument, "data.path"), "output") for argument in sys.argv]
    return run_command(_predict, "predict", str(predict.__doc__))


@hydra.main(config_name="predict", **CONFIGS)  # type: ignore[untyped-decorator]
def _predict(config: DictConfig) -> None:
    """Predict and write the file."""
    with standard_output(), errors_in_one_line("predict"):
        from gradclip.cli.predict import run_prediction

        run_prediction(config)


def sync() -> int:
    """Send what a store did not take while runs trained: it waits in their folders.

    python src/sync.py                      everything below mlruns
    python src/sync.py mlruns/hydra/runs    everything below another folder
    """
    from gradclip.cli.sync import run_sync

    return run_sync(sys.argv[1:], str(sync.__doc__))


def ui() -> int:
    """Serve the MLflow pages over the store in mlruns/, on this machine only, until Ctrl-C.

    gradclip ui              at http://127.0.0.1:5000
    gradclip ui port=5001    at another port
    """
    from gradclip.cli.ui import run_ui

    run_ui(sys.argv[1:], str(ui.__doc__))
    return 0
