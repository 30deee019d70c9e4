"""Compare stored runs over seeds; trains nothing.

python src/compare.py                                                  the last multirun
python src/compare.py runs=gradclip by=[clip.name,clip.value]          all runs of an experiment, by some settings
python src/compare.py "runs=tags.outcome != 'stalled'"                 the runs that an MLflow filter selects
python src/compare.py target=100                                       when does the test MSE fall below 100?
"""

import sys

import hydra
from omegaconf import DictConfig

from gradclip.cli.arguments import quoted_for_hydra
from gradclip.cli.entry import errors_in_one_line, run_command
from gradclip.config.paths import register_resolvers

register_resolvers()


@hydra.main(version_base="1.3", config_path="../conf", config_name="compare")  # type: ignore[untyped-decorator]
def main(config: DictConfig) -> None:
    """Compare stored runs and print what was found."""
    with errors_in_one_line("compare"):
        from gradclip.cli.compare import run_comparison

        run_comparison(config)


if __name__ == "__main__":
    sys.argv = [quoted_for_hydra(quoted_for_hydra(argument, "runs"), "data_set") for argument in sys.argv]
    sys.exit(run_command(main, "compare", str(__doc__)))
