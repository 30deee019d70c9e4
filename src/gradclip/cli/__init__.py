"""The commands, a module for each, and what they share: errors and exit codes (``entry``), printing (``messages``).

``programs`` starts them, for a script under ``src/`` or, by ``main``, for the command ``gradclip``. A command composes
its config, checks it, calls the packages below and prints; ``notebook`` does so from Python. Advice has modules of its
own for a log (``advise_on_log``) and for a confirmation (``confirm``). Read :mod:`~gradclip.cli.train` first.
"""
