"""Train one network, or many with -m, and track every run: ``python src/train.py clip=norm clip.value=1.0``."""

import sys

import hydra
from omegaconf import DictConfig

from gradclip.command import run_command
from gradclip.config import register_resolvers

register_resolvers()


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")  # type: ignore[untyped-decorator]
def main(config: DictConfig) -> None:
    """Run one job: a single run, or one of a multirun."""
    from gradclip.job import run_job

    run_job(config)


if __name__ == "__main__":
    sys.exit(run_command(main))
