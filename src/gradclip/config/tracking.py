"""Settings of the options under ``conf/tracking``."""

from typing import Annotated
from urllib.parse import unquote

from pydantic import Field, model_validator

from gradclip.config.base import Count, Pattern, Seconds, Settings
from gradclip.config.limits import MAX_SECONDS
from gradclip.config.passwords import PASSWORD_REFUSED, has_password, parse_database_uri

IN_MEMORY = (":memory:", "mode=memory", "vfs=memdb")  # parts of the address of an SQLite store without a file


class TrackingSettings(Settings):
    """The store of the runs, and what to do if a write fails."""

    uri: str | None
    artifacts: str
    experiment: Annotated[str, Field(min_length=1, max_length=250)]
    system_metrics: bool
    checkpoint_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)] | None
    all_points_until: Count | None
    retry_seconds: Seconds
    spool_if_absent: bool
    trusted_models: list[Pattern]

    @model_validator(mode="after")
    def _store_is_supported(self) -> "TrackingSettings":
        uri, schemes = self.uri, ("sqlite://", "postgresql", "mysql", "mssql", "http://", "https://")
        if uri is None:
            return self
        if has_password(uri):
            raise ValueError(f"uri: {PASSWORD_REFUSED}")
        if not uri.startswith(schemes):
            raise ValueError(f"uri: got {uri!r}; must begin with one of {', '.join(schemes)}, or be null")
        if uri.startswith("sqlite:") and not _names_a_file(uri):
            raise ValueError(f"uri: got {uri!r}; must name a file, sqlite:///path; a store in memory would be lost")
        if not uri.startswith(("sqlite:", "http")) and parse_database_uri(uri) is None:
            raise ValueError(f"uri: got {uri!r}; must be an address such as postgresql://user@host:5432/name")
        return self

    @model_validator(mode="after")
    def _artifacts_are_in_a_folder(self) -> "TrackingSettings":
        if "://" in self.artifacts or not self.artifacts.strip():
            raise ValueError(f"artifacts: got {self.artifacts!r}; must be the path of a folder")
        return self


def _names_a_file(uri: str) -> bool:
    plain = unquote(uri).lower()  # SQLAlchemy reads %3Amemory%3A as :memory:
    path = plain.partition("://")[2].partition("?")[0].lstrip("/")
    return bool(path) and not plain.endswith("/") and not any(name in plain for name in IN_MEMORY)
