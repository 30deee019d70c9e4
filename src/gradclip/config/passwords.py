"""Passwords in the URI of a store: moved into environment variables that PostgreSQL's library and MLflow read.

No config, tag, file, message or printed command then contains a password, and child processes of the command still get
it.
"""

import re
from collections.abc import MutableMapping, Sequence
from urllib.parse import unquote

from gradclip.errors import ConfigError

URI_VARIABLE = "MLFLOW_TRACKING_URI"
URI_SETTING = re.compile(r"\+{0,2}tracking\.uri=")
DATABASE_LOGIN = re.compile(r"(postgresql(?:\+psycopg\w*)?://[^:/@]*):((?:(?!://)[^?])*)@")
SERVER_LOGIN = re.compile(r"(https?://)([^:/@]*):([^/?]*)@")
ANY_PASSWORD = re.compile(
    r"https?://[^/]*:[^/]*@|(?<!http)(?<!https)://[^/@]*:[^@]*@|(password|passwd|pwd)(=|%3d)", re.IGNORECASE
)
PASSWORD_REFUSED = (
    "it has a password, which would be stored with the run; give it as PGPASSWORD, as MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or in the file that the database's driver reads"
)


def extract_passwords(arguments: Sequence[str], environment: MutableMapping[str, str]) -> list[str]:
    """Move the password of a command's store into the environment and return the arguments without it.

    Args:
        arguments: arguments of the command; without a ``tracking.uri`` the store is that of ``MLFLOW_TRACKING_URI``.
        environment: environment variables of the process, changed in place.

    Raises:
        ConfigError: there are several passwords, or one that no environment variable can carry.
    """
    uris = [text for text in arguments if URI_SETTING.match(text)] or [environment.get(URI_VARIABLE, "")]
    variables = set[tuple[str, str]]().union(*(split_passwords(uri)[1] for uri in uris))
    if len(variables) > len(dict(variables)):
        raise ConfigError("tracking.uri: got several passwords; one command can have one")
    cleaned = [split_passwords(text)[0] if URI_SETTING.match(text) else text for text in arguments]
    if any(URI_SETTING.match(text) and has_password(text) for text in cleaned):
        raise ConfigError(f"tracking.uri: {PASSWORD_REFUSED}")
    environment.update(variables)
    if URI_VARIABLE in environment:
        environment[URI_VARIABLE] = split_passwords(environment[URI_VARIABLE])[0]
    return cleaned


def split_passwords(text: str) -> tuple[str, set[tuple[str, str]]]:
    """Split the URIs in a text into the text without logins and the environment variables, names and values, for them.

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
    """Return whether a URI contains a password.

    Example:
        >>> has_password("mysql://ada:secret@lab/runs"), has_password("http://127.0.0.1:5000/@ada")
        (True, False)
    """
    return bool(ANY_PASSWORD.search(uri))
