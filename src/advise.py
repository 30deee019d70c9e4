"""Advise on a stored run, or on any log of gradient norms: which clipping to try at which threshold, and why.

python src/advise.py                                                   the run that was started last
python src/advise.py experiment=gradclip                               the last one of an experiment
python src/advise.py run=0123456789abcdef0123456789abcdef              a run
python src/advise.py probe=true                                        measure norms in a short run, if it exploded
python src/advise.py confirm=true seeds=20                             try the advice over 20 seeds
python src/advise.py log=norms.csv                                     a log of another program: exit code 0 or 3
python src/advise.py log=trainer_state.json output=json                the same for programs
python src/advise.py run=0123456789abcdef0123456789abcdef metric=grad_norm    a metric of any run in the store
"""

import re
import sys

import hydra
from omegaconf import DictConfig

from gradclip.cli.arguments import quoted_for_hydra
from gradclip.cli.entry import errors_in_one_line, run_command
from gradclip.config.paths import register_resolvers

register_resolvers()


@hydra.main(version_base="1.3", config_path="../conf", config_name="advise")  # type: ignore[untyped-decorator]
def main(config: DictConfig) -> None:
    """Print what to try after a run."""
    with errors_in_one_line("advise"):
        from gradclip.cli.advise import run_advice

        run_advice(config)


if __name__ == "__main__":
    # Hydra would take experiment= for a choice from the group of that name.
    sys.argv = [re.sub("^experiment=", "tracking.experiment=", argument) for argument in sys.argv]
    sys.argv = [quoted_for_hydra(argument, "log") for argument in sys.argv]
    sys.exit(run_command(main, "advise", str(__doc__)))
