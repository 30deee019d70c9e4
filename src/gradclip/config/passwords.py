"""Passwords in the URI of a store, moved to the environment variables that PostgreSQL's library and MLflow read.

No config, tag, file, message or printed command then contains a password, and child processes still inherit it.
"""

import re
from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gradclip.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import URL

URI_VARIABLE = "MLFLOW_TRACKING_URI"
URI_SETTING = re.compile(r"\+{0,2}tracking\.uri=")
DATABASE_LOGIN = re.compile(r"(postgresql(?:\+psycopg\w*)?://[^:/@]*):((?:(?!://)[^?])*)@")
SERVER_LOGIN = re.compile(r"(https?://)([^:/@]*):([^/?]*)@")
URI = re.compile(r"(?<![\w+])[A-Za-z][\w+]*:/+[^\s'\"]*")
SECRET = re.compile(r"\w*(pass|pwd|token|secret|key|auth|cred)\w*\s*=", re.IGNORECASE)  # in the query of a URI
USER_ALLOWED = ("postgresql", "mysql", "mssql")  # databases whose URIs may name a user
PASSWORD_REFUSED = (
    "it has a password, which would be stored with the run, or it cannot be parsed; set PGPASSWORD, or "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or use the password file of the database driver"
)


def extract_passwords(arguments: Sequence[str], environment: MutableMapping[str, str]) -> list[str]:
    """Move the password of a command's store into the environment and return the arguments without it.

    Args:
        arguments: arguments of the command; without ``tracking.uri``, ``MLFLOW_TRACKING_URI`` names the store.
        environment: environment variables of the process, changed in place.

    Raises:
        ConfigError: there are several passwords, or one that cannot be moved to an environment variable.
    """
    uris = [text for text in arguments if URI_SETTING.match(text)] or [environment.get(URI_VARIABLE, "")]
    variables = set[tuple[str, str]]().union(*(split_passwords(uri)[1] for uri in uris))
    if len(variables) > len(dict(variables)):
        raise ConfigError("tracking.uri: got several passwords; a command takes only one")
    cleaned = [split_passwords(text)[0] if URI_SETTING.match(text) else text for text in arguments]
    for text in (*cleaned, f"tracking.uri={split_passwords(environment.get(URI_VARIABLE, ''))[0]}"):
        if URI_SETTING.match(text) and any(map(has_password, _uris(text))):
            raise ConfigError(f"tracking.uri: {PASSWORD_REFUSED}")
    environment.update(variables)
    if URI_VARIABLE in environment:
        environment[URI_VARIABLE] = split_passwords(environment[URI_VARIABLE])[0]
    return cleaned


def _uris(override: str) -> list[str]:
    """Return the URIs in an override: one, or several in a sweep."""
    parts = re.split(r"(?<![\w+])(?=[A-Za-z][\w+]*:/)", override.partition("=")[2])
    return [part.strip("'\"[](){}, ") for part in parts if ":/" in part and "${" not in part]


def without_passwords(text: str) -> str:
    """Return a message in which every URI that has or may have a password is cut short.

    Example:
        >>> without_passwords("http://ada:se/cret@lab: no answer"), without_passwords("http://lab: no answer")
        ('http://...: no answer', 'http://lab: no answer')
    """
    return URI.sub(lambda found: _shortened(found[0]), text)


def _shortened(found: str) -> str:
    uri = found.rstrip(":,;)]}")  # punctuation of the message
    return f"{uri.partition(':')[0]}://...{found[len(uri) :]}" if has_password(uri) else found


def split_passwords(text: str) -> tuple[str, set[tuple[str, str]]]:
    """Return a text without the logins in its URIs, and name and value of the environment variables that replace them.

    Example:
        >>> split_passwords("postgresql://ada:secret@lab/runs")
        ('postgresql://ada@lab/runs', {('PGPASSWORD', 'secret')})
        >>> uri, variables = split_passwords("http://ada:se%40cret@lab:5000")
        >>> uri, sorted(variables)
        ('http://lab:5000', [('MLFLOW_TRACKING_PASSWORD', 'se@cret'), ('MLFLOW_TRACKING_USERNAME', 'ada')])
    """
    variables = {("PGPASSWORD", unquote(password)) for _, password in DATABASE_LOGIN.findall(text)}
    for _, user, password in SERVER_LOGIN.findall(text):
        variables |= {("MLFLOW_TRACKING_USERNAME", unquote(user)), ("MLFLOW_TRACKING_PASSWORD", unquote(password))}
    return SERVER_LOGIN.sub(r"\1", DATABASE_LOGIN.sub(r"\1@", text)), variables


def has_password(uri: str) -> bool:
    """Return whether a URI contains a password or a token, or may contain one because it cannot be parsed.

    Example:
        >>> has_password("mysql://ada:secret@lab/runs"), has_password("http://127.0.0.1:5000/@ada")
        (True, False)
        >>> has_password("http://ada:x/y@lab"), has_password("http://token@lab"), has_password("http://lab/?token=x")
        (True, True, True)
    """
    scheme = uri.partition(":")[0].lower()
    if scheme == "sqlite":  # the path of a file may contain any character
        return re.match(r"sqlite://[^/?]", uri) is not None  # it names a host, though SQLite has none
    return _server_has_login(uri) if scheme in {"http", "https"} else _database_has_password(uri, scheme)


def _server_has_login(uri: str) -> bool:
    """Return whether an HTTP URI may have a login; the URI of a tracking server has no query or fragment.

    A colon or a slash in a password makes the port invalid; with a slash too many, the login is in the path.
    """
    try:
        parts = urlsplit(uri)
        is_in_path = not parts.netloc and parts.path.strip("/")
        return parts.port == 0 or "@" in parts.netloc or ";" in uri or bool(is_in_path or parts.query or parts.fragment)
    except ValueError:
        return True


def parse_database_uri(uri: str) -> "URL | None":
    """Return the parts of the URI of a database; None if it is no URI."""
    from sqlalchemy import make_url  # takes 0.1 s to import
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(uri)
    except (ArgumentError, ValueError):
        return None


def _database_has_password(uri: str, scheme: str) -> bool:
    parsed = parse_database_uri(uri)
    if parsed is None:
        return "://" in uri
    query = "&".join(f"{name}={value}" for name, value in parsed.query.items())
    place = f"{parsed.host or ''}/{parsed.database or ''}"
    return (
        parsed.password is not None
        or (parsed.username is not None and (":" in parsed.username or not scheme.startswith(USER_ALLOWED)))
        or bool(SECRET.search(unquote(query)))
        or bool({*place} & {*"#;?@:"})
    )
