"""A password in a URI is moved or refused, and no message shows it; tests/config/test_passwords.py has the details."""

import pytest

from gradclip.config.composition import compose_config
from gradclip.config.error_messages import USER_ERRORS, describe
from gradclip.config.passwords import extract_passwords, has_password, without_passwords

SECRET = "s3cret"
SERVERS = (
    *("http://ada:S@lab", "http://ada:x/S@lab", "http://S@lab", "http://ada:S?x@lab", "http://ada:S#x@lab"),
    *("http://lab/?token=S", "http://lab?password=S", "http://lab/x;token=S", "http://lab#S", "HTTP://ada:S@lab"),
    *("http://ada:S@[::1]:5000", "http://ada%3AS@lab", "http://pa$S@lab", "http://ada:S @lab", "http://lab:S"),
)
DATABASES = (
    *("postgresql://ada:S@lab/x", "postgres://ada:S@lab/x", "mysql://ada:S@lab", "postgresql://ada:x/S@lab"),
    *("postgresql://lab/x?password=S", "postgresql://lab/x?api_key=S", "postgresql://lab/x?passwd=S"),
    *("postgresql://lab:S", "postgresql://ada%3AS@lab", "sqlite://ada:S@lab", "sqlite+pysqlcipher://:S@/x.db"),
    *("ftp://S@lab", "mssql+pyodbc:///?odbc_connect=PWD%3DS", "postgresql://lab/x?options=-cpassword%3DS"),
)
FORMS = ("tracking.uri={}", "++tracking.uri='{}'", "tracking.uri=[{}]", "tracking.uri=choice({},http://other)")


@pytest.mark.parametrize("uri", SERVERS + DATABASES)
def test_no_password_is_kept_or_shown(uri: str) -> None:
    for form in FORMS:
        argument, environment = form.format(uri.replace("S", SECRET)), dict[str, str]()
        try:
            (cleaned,) = extract_passwords([argument], environment)
            assert SECRET not in cleaned
            assert any(SECRET in value for value in environment.values())
        except USER_ERRORS as error:
            assert SECRET not in describe(error)
        with pytest.raises(USER_ERRORS) as caught:  # as if an interpolation had brought it
            compose_config([argument])
        assert SECRET not in describe(caught.value)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "http://lab/mlflow/", "https://lab/@ada", "databricks"])
def test_what_has_no_password_is_kept(uri: str) -> None:
    assert not has_password(uri)
    assert without_passwords(f"tracking.uri: got {uri!r}; no answer") == f"tracking.uri: got {uri!r}; no answer"
