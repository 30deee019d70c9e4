"""The commands, one module each, and their shared code.

``entry.py`` handles errors and exit codes, ``messages.py`` prints. ``programs.py`` starts the commands for the scripts
under ``src/`` and, through ``main.py``, for the command ``gradclip``. A command composes its config, validates it,
calls the packages below and prints the result; ``notebook.py`` does the same from Python. ``advise.py`` is split:
``advise_on_log.py`` reads logs, and ``confirm.py`` runs confirmations. Read ``train.py`` first.
"""
