"""Passwords in the address of a store: put into the environment, where PostgreSQL's library and MLflow look for them.

So no config, tag, file, message or printed command has one, while further processes of the command do.
"""

import re
from collections.abc import MutableMapping, Sequence
from urllib.parse import unquote

from gradclip.errors import ConfigError

ADDRESS = "MLFLOW_TRACKING_URI"
SETTING = re.compile(r"\+{0,2}tracking\.uri=")
DATABASE = re.compile(r"(postgresql(?:\+psycopg\w*)?://[^:/@]*):((?:(?!://)[^?])*)@")
SERVER = re.compile(r"(https?://)([^:/@]*):([^/?]*)@")
ANY_OTHER = re.compile(
    r"https?://[^/]*:[^/]*@|(?<!http)(?<!https)://[^/@]*:[^@]*@|(password|passwd|pwd)(=|%3d)", re.IGNORECASE
)
PASSWORD_REFUSED = (
    "it has a password, which would be stored with the run; give it as PGPASSWORD, as MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or in the file that the database's driver reads"
)


def extract_passwords(arguments: Sequence[str], environment: MutableMapping[str, str]) -> list[str]:
    """Put the password of a command's store into the environment, and return the arguments without it.

    Args:
        arguments: of the command; where none names a store, ``MLFLOW_TRACKING_URI`` does.
        environment: of this process.

    Raises:
        ConfigError: there are several passwords, or one that no variable is known for.
    """
    named = [text for text in arguments if SETTING.match(text)] or [environment.get(ADDRESS, "")]
    variables = set[tuple[str, str]]().union(*(separate(text)[1] for text in named))
    if len(variables) > len(dict(variables)):
        raise ConfigError("tracking.uri: got several passwords; one command can have one")
    left = [separate(text)[0] if SETTING.match(text) else text for text in arguments]
    if any(SETTING.match(text) and has_password(text) for text in left):
        raise ConfigError(f"tracking.uri: {PASSWORD_REFUSED}")
    environment.update(variables)
    if ADDRESS in environment:
        environment[ADDRESS] = separate(environment[ADDRESS])[0]
    return left


def separate(text: str) -> tuple[str, set[tuple[str, str]]]:
    """Take passwords out of addresses; return what is left, and the variables to put them into.

    Example:
        >>> separate("postgresql://ada:secret@lab/runs")
        ('postgresql://ada@lab/runs', {('PGPASSWORD', 'secret')})
        >>> address, variables = separate("http://ada:se%40cret@lab:5000")
        >>> address, sorted(variables)
        ('http://lab:5000', [('MLFLOW_TRACKING_PASSWORD', 'se@cret'), ('MLFLOW_TRACKING_USERNAME', 'ada')])
    """
    variables = {("PGPASSWORD", unquote(password)) for _, password in DATABASE.findall(text)}
    for _, user, password in SERVER.findall(text):
        login = {"MLFLOW_TRACKING_USERNAME": unquote(user), "MLFLOW_TRACKING_PASSWORD": unquote(password)}
        variables |= set(login.items())
    return SERVER.sub(r"\1", DATABASE.sub(r"\1@", text)), variables


def has_password(address: str) -> bool:
    """Whether an address has a password.

    Example:
        >>> has_password("mysql://ada:secret@lab/runs"), has_password("http://127.0.0.1:5000/@ada")
        (True, False)
    """
    return bool(ANY_OTHER.search(address))
