"""The commands, a module for each, and what they share: their frame (``entry``), what runs print (``messages``).

A command composes its config, checks it, calls the packages below and prints. Read :mod:`~gradclip.cli.train` first.
"""
