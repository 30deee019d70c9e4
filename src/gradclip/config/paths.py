"""Paths of this checkout and its default store, as resolvers of the configs."""

from pathlib import Path

from omegaconf import OmegaConf

PROJECT_ROOT = Path(__file__).resolve().parents[3]
CONFIG_FOLDER = PROJECT_ROOT / "conf"


def register_resolvers() -> None:
    """Register ``${project_root:}``, the folder of this checkout, and ``${default_store:}`` with OmegaConf."""
    OmegaConf.register_new_resolver("project_root", lambda: str(PROJECT_ROOT), replace=True)
    OmegaConf.register_new_resolver("default_store", default_store, replace=True)


def default_store() -> str:
    """The URI of the SQLite store of this checkout."""
    path = str(PROJECT_ROOT / "mlruns" / "mlflow.db")
    if not set(path) & set("%?#"):
        return f"sqlite:///{path}"
    from sqlalchemy import URL  # a tenth of a second to import, which other folders do without

    return URL.create("sqlite", database=path).render_as_string(hide_password=False)
