"""MLflow: the store, the process that writes to it, and the Lightning logger in front.

Everything MLflow does happens in a process of its own, so that it loads beside torch, writes beside training, and a
slow store never holds a step up.
"""

import os

MAX_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"

# Before anything imports MLflow, which reads some of them as it loads; in each process that imports this package.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds until a server that hangs counts as gone
os.environ.setdefault(MAX_RETRIES, "1")  # gradclip.tracking.backend.delivery tries again by itself
