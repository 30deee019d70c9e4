"""Folder of the configs, and OmegaConf resolvers for the default store and the folder of ``mlruns/``."""

from omegaconf import OmegaConf

from gradclip.program import IS_CHECKOUT, PACKAGE, PROJECT_ROOT, home

CONFIG_FOLDER = PROJECT_ROOT / "conf" if IS_CHECKOUT else PACKAGE / "conf"


def register_resolvers() -> None:
    """Register ``${project_root:}``, the folder of ``mlruns/``, and ``${default_store:}`` with OmegaConf."""
    OmegaConf.register_new_resolver("project_root", lambda: str(home()), replace=True)
    OmegaConf.register_new_resolver("default_store", default_store, replace=True)


def default_store() -> str:
    """Return the URI of the SQLite store in ``mlruns/``."""
    path = str(home() / "mlruns" / "mlflow.db")
    if not set(path) & set("%?#"):
        return f"sqlite:///{path}"
    from sqlalchemy import URL  # takes 0.1 s to import; only these characters need it

    return URL.create("sqlite", database=path).render_as_string(hide_password=False)
