"""A password in a URI is moved or refused, and no message shows it; see also tests/config/test_passwords.py."""

from collections.abc import Callable

import pytest

from gradclip.config.composition import compose_config
from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.passwords import extract_passwords, has_password, without_passwords

SECRET = "s3cret"
SERVERS = (
    *("http://ada:S@lab", "http://ada:x/S@lab", "http://S@lab", "http://ada:S?x@lab", "http://ada:S#x@lab"),
    *("http://lab/?token=S", "http://lab?password=S", "http://lab/x;token=S", "http://lab#S", "HTTP://ada:S@lab"),
    *("http://ada:S@[::1]:5000", "http://ada%3AS@lab", "http://pa$S@lab", "http://ada:S @lab", "http://lab:S"),
    *("http:///ada:S@lab", "http:/ada:S@lab", "http://lab;S"),
)
DATABASES = (
    *("postgresql://ada:S@lab/x", "postgres://ada:S@lab/x", "mysql://ada:S@lab", "postgresql://ada:x/S@lab"),
    *("postgresql://lab/x?password=S", "postgresql://lab/x?api_key=S", "postgresql://lab/x?passwd=S"),
    *("postgresql://lab:S", "postgresql+psycopg2://ada%3AS@lab", "sqlite://ada:S@lab", "sqlite+pysqlcipher://:S@/x.db"),
    *("ftp://S@lab", "mssql+pyodbc:///?odbc_connect=PWD%3DS", "postgresql://lab/x?options=-cpassword%3DS"),
)
FORMS = ("tracking.uri={}", "++tracking.uri='{}'", "tracking.uri=[{}]", "tracking.uri=choice({},http://other)")


@pytest.mark.parametrize("uri", SERVERS + DATABASES)
def test_no_password_is_kept_or_shown(uri: str) -> None:
    for form in FORMS:
        argument, environment = form.format(uri.replace("S", SECRET)), dict[str, str]()
        message = message_of(lambda: extract_passwords([argument], environment))  # noqa: B023
        assert SECRET not in message
        assert message or any(SECRET in value for value in environment.values())
    quoted = FORMS[1].format(uri.replace("S", SECRET))
    message = message_of(lambda: compose_config([quoted]))  # as if it came from an interpolation
    assert message
    assert SECRET not in message


def message_of(call: Callable[[], object]) -> str:
    """Return the line of an error, or the result of ``call`` if it contains the password, else an empty string."""
    try:
        result = str(call())
    except USER_ERRORS as error:
        return describe(error)
    return result if SECRET in result else ""


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "http://lab/mlflow/", "https://lab/@ada", "postgresql+psycopg2://ada@lab"]
)
def test_a_uri_without_a_password_is_unchanged(uri: str) -> None:
    assert not has_password(uri)
    assert without_passwords(f"tracking.uri: got {uri!r}; no answer") == f"tracking.uri: got {uri!r}; no answer"
