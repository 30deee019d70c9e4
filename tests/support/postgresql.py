"""A real PostgreSQL server on this machine, if it is installed, for the tests."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.support.mlflow_server import free_port

OWNER = "nobody"  # PostgreSQL refuses to be run by root
AS_OWNER = () if os.geteuid() else ("setpriv", f"--reuid={OWNER}", "--clear-groups")


def is_installed() -> bool:
    """Return whether PostgreSQL is installed and can be started."""
    return all(map(shutil.which, ("initdb", "postgres", "pg_isready", *AS_OWNER[:1])))


class PostgreSQL:
    """A separate database server that can be killed and restarted.

    Args:
        folder: folder of its files; other users must be able to enter all parent folders.
    """

    process: "subprocess.Popen[bytes]"

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"postgresql+psycopg2://mlflow@127.0.0.1:{self.port}/postgres"
        if AS_OWNER:
            shutil.chown(folder, OWNER)
        command = ["initdb", "--pgdata", str(folder / "data"), "--username", "mlflow", "--auth", "trust", "--no-sync"]
        subprocess.run([*AS_OWNER, *command], check=True, capture_output=True)

    def start(self) -> None:
        """Start the server and wait until it responds."""
        places = ["-D", str(self.folder / "data"), "-k", str(self.folder), "-h", "127.0.0.1", "-p", str(self.port)]
        with (self.folder / "postgres.log").open("a") as log:
            self.process = subprocess.Popen([*AS_OWNER, "postgres", *places], stdout=log, stderr=log)
        ready = ["pg_isready", "--host", "127.0.0.1", "--port", str(self.port), "--quiet"]
        for _ in range(300):
            if subprocess.run(ready, check=False, timeout=10).returncode == 0:
                return
            time.sleep(0.1)
        self.kill()
        raise AssertionError("PostgreSQL does not answer")

    def add_user(self, name: str, password: str) -> str:
        """Add a user with a password and return the URI that contains both."""
        import psycopg2

        rules = self.folder / "data/pg_hba.conf"
        rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        connection = psycopg2.connect(self.uri.replace("+psycopg2", ""))
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'; SELECT pg_reload_conf()")
        connection.close()
        return self.uri.replace("mlflow@", f"{name}:{password}@")

    def kill(self) -> None:
        """Stop the server at once, without closing its connections."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()
