"""Hyperparameter search by Optuna, in place of a grid: which settings to try, how many seeds each gets, the report.

Settings in ``search_settings``, ranges in ``space``, trials in ``trial`` and ``halving``; read
:func:`gradclip.sweep.search.run.run_search` first.
"""
