"""Paths of this checkout, for the configs and the commands."""

from pathlib import Path

from omegaconf import OmegaConf

PROJECT_ROOT = Path(__file__).resolve().parents[3]
CONFIG_FOLDER = PROJECT_ROOT / "conf"


def register_resolvers() -> None:
    """Register the resolver ``${project_root:}``, the folder of this checkout, with OmegaConf."""
    OmegaConf.register_new_resolver("project_root", lambda: str(PROJECT_ROOT), replace=True)
