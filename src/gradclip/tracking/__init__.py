"""The store as training sees it: a run, a logger, and typed operations performed by a separate tracking process.

The tracking process loads MLflow while torch loads, and writes while the model trains, so a slow store never delays a
step. The store's address, ``tracking.uri``, is passed on as a ``Store`` (``records.py``); it is a parameter of the run
like any setting, and part of every write in a spool. ``operations.py`` declares the operations, and ``backend/``
implements them with MLflow. Read ``run.py`` first.
"""

import os

MAX_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"

# Set before MLflow is imported: it reads some of these variables at import.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds before a hanging server counts as gone
os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")  # a server may ask to wait an hour
# A store failure is reported in one line, not with MLflow's traceback, unless the user asks for full errors. The
# variable is read at import: commands set it for Hydra later.
FULL_ERRORS = os.environ.get("HYDRA_FULL_ERROR") == "1"
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR" if FULL_ERRORS else "CRITICAL")
os.environ.setdefault(MAX_RETRIES, "1")  # gradclip.tracking.backend.delivery has its own retries
