"""Train a network, clip its gradients, and track the run.

python src/train.py clip=norm clip.value=1.0                                one run
python src/train.py -m clip=norm clip.value=0.1,1,10 seed=0,1,2             every combination
python src/train.py +experiment=explosion                                   a run prepared under conf/experiment
python src/train.py -m +sweep=norm_thresholds                               many runs prepared under conf/sweep
"""

import sys

import hydra
from omegaconf import DictConfig

from gradclip.cli.entry import run_command
from gradclip.config.paths import register_resolvers

register_resolvers()


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")  # type: ignore[untyped-decorator]
def main(config: DictConfig) -> None:
    """Run one job: a single run, or one of a multirun."""
    from gradclip.cli.train import run_job

    run_job(config)


if __name__ == "__main__":
    sys.exit(run_command(main, "train", str(__doc__)))
