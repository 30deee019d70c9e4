"""The commands, a module for each, and what they share: errors and exit codes (``entry``), printing (``messages``).

A command composes its config, checks it, calls the packages below and prints. Read :mod:`~gradclip.cli.train` first.
"""
