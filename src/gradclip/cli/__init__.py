"""The commands, one module each, and their shared code: errors and exit codes (``entry``), printing (``messages``).

``programs`` starts the commands for the scripts under ``src/`` and, through ``main``, for the command ``gradclip``. A
command composes its config, validates it, calls the packages below and prints the result; ``notebook`` does the same
from Python. ``advise`` has separate modules for logs (``advise_on_log``) and confirmations (``confirm``). Read
:mod:`~gradclip.cli.train` first.
"""
