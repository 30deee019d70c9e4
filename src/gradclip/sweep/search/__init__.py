"""Hyperparameter search with Optuna, in place of a grid: settings to try, number of seeds, report.

``search_settings.py`` has the settings, ``space.py`` the ranges, ``trial.py`` and ``halving.py`` the trials. Read
``run.py`` first, from ``run_search``.
"""
