"""A password in the address of a store is moved into the environment, or refused."""

from base64 import b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from gradclip.config.passwords import extract_passwords
from gradclip.errors import ConfigError
from tests.conftest import Command, assert_one_error_line

PASSWORD = {"PGPASSWORD": "s3cret"}
LOGIN = {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "s3cret"}


@pytest.mark.parametrize(
    ("uri", "cleaned", "variables"),
    [
        ("postgresql://ada:s3cret@lab:5432/runs?a=b%40c", "postgresql://ada@lab:5432/runs?a=b%40c", PASSWORD),
        ("'postgresql+psycopg2://ada:s3c%72et@lab/runs'", "'postgresql+psycopg2://ada@lab/runs'", PASSWORD),
        ("postgresql://ada:a/b@c:@lab/runs", "postgresql://ada@lab/runs", {"PGPASSWORD": "a/b@c:"}),
        ("https://ada:s3cret@lab/mlflow/", "https://lab/mlflow/", LOGIN),
        ("http://ada:s3cret@one,http://ada:s3cret@two:5000", "http://one,http://two:5000", LOGIN),
        ("http://127.0.0.1:5000/@ada", "http://127.0.0.1:5000/@ada", {}),
        ("postgresql://ada@lab:5432/runs", "postgresql://ada@lab:5432/runs", {}),
        ("sqlite:////home/ada:s3cret@lab/mlflow.db", "sqlite:////home/ada:s3cret@lab/mlflow.db", {}),
    ],
)
def test_a_password_is_moved_into_the_environment(uri: str, cleaned: str, variables: dict[str, str]) -> None:
    environment: dict[str, str] = {}
    assert extract_passwords(["-m", f"tracking.uri={uri}"], environment) == ["-m", f"tracking.uri={cleaned}"]
    assert environment == variables
    environment = {"MLFLOW_TRACKING_URI": uri}
    assert extract_passwords(["seed=0,1"], environment) == ["seed=0,1"]
    assert environment == {"MLFLOW_TRACKING_URI": cleaned} | variables


def test_the_password_of_an_unused_store_is_not_moved() -> None:
    environment = {"MLFLOW_TRACKING_URI": "postgresql://ada:s3cret@lab/runs"}
    extract_passwords(["tracking.uri=postgresql://eve@elsewhere/runs"], environment)
    assert "PGPASSWORD" not in environment


@pytest.mark.parametrize(
    "uri",
    [
        "mysql+pymysql://ada:s3cret@lab/runs",
        "postgresql+pg8000://ada:s3cret@lab/runs",
        "postgresql://ada:s3?cret@lab/runs",
        "postgresql://lab/runs?user=ada&password=s3cret",
        "mssql+pyodbc:///?odbc_connect=UID%3Dada%3BPWD%3Ds3cret",
        "http://ada:x/y@lab",
        "http://s3cret@lab:5000",
        "https://lab/mlflow?token=s3cret",
        "https://lab/mlflow#s3cret",
        "postgresql://lab/runs?sslpassword=s3cret",
    ],
)
def test_a_password_that_would_be_stored_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="it has a password, which would be stored"):
        extract_passwords([f"tracking.uri={uri}"], {})


def test_several_passwords_are_refused() -> None:
    with pytest.raises(ConfigError, match="got several passwords; a command takes only one"):
        extract_passwords(["tracking.uri=http://ada:one@lab,http://ada:two@lab"], {})


def test_commands_do_not_print_the_password(train: Command, compare: Command) -> None:
    line = "tracking.uri: got 'http://127.0.0.1:1'; no MLflow server answers there (ConnectionError)"
    assert_one_error_line(compare("tracking.uri=http://ada:s3cret@127.0.0.1:1"), line)
    assert_one_error_line(train("tracking.uri=mysql://ada:s3cret@lab/runs"), "tracking.uri: it has a password")


def test_a_password_from_an_interpolation_is_refused(train: Command) -> None:
    done = train("tracking.uri=${oc.env:LAB}", environment={"LAB": "http://ada:s3cret@127.0.0.1:1"})
    assert_one_error_line(
        done, "tracking.uri: it has a password, which would be stored with the run, or it cannot be parsed; "
    )


def test_the_login_reaches_the_server(compare: Command) -> None:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            known = self.headers["Authorization"] == f"Basic {b64encode(b'ada:s3cret').decode()}"
            self.send_response(418 if known else 401)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{server.server_port}"
    done = compare(f"tracking.uri=http://ada:s3cret@{address}")
    server.shutdown()
    assert_one_error_line(done, f"tracking.uri: got 'http://{address}'; no MLflow server answers there (418)")
