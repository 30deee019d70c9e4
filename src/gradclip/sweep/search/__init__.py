"""Hyperparameter search with Optuna, in place of a grid: settings to try, number of seeds, report.

Settings are in ``search_settings``, ranges in ``space``, trials in ``trial`` and ``halving``. Start with
:func:`gradclip.sweep.search.run.run_search`.
"""
