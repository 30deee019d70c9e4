"""The commands: one module for each, and what they share: the frame (``entry``) and what single runs print (``messages``).

A command composes its config, checks it, calls the packages below and prints. Read :mod:`~gradclip.cli.train` first.
"""
