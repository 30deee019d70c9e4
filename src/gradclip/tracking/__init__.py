"""The store as training sees it: a run, a logger, and typed operations that a process of its own performs.

That process loads MLflow beside torch and writes beside training, so that a slow store never delays a step. The
address of the store, ``tracking.uri``, travels as a :class:`~gradclip.tracking.records.Store`; it is a parameter of the
run like any setting, and part of every write that waits in a spool. Read
:mod:`~gradclip.tracking.run` first, then :mod:`~gradclip.tracking.operations`; ``backend`` is the other side.
"""

import os

MAX_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"

# Set before MLflow is imported, which reads some of them as it loads.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds until a server that hangs counts as gone
os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")  # a server may ask for an hour
# A store that fails is reported in one line; MLflow would print a trace each time. Commands set the variable for Hydra.
FULL_ERRORS = os.environ.get("HYDRA_FULL_ERROR") == "1"
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR" if FULL_ERRORS else "CRITICAL")
os.environ.setdefault(MAX_RETRIES, "1")  # gradclip.tracking.backend.delivery tries again by itself
