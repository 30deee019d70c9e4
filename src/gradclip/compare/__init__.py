"""Comparison of stored runs over seeds, without any training.

Runs on one data set (``data_sets.py``) are grouped by their settings (``grouping.py``), and each group gets a label
(``labels.py``). Groups and pairs of groups are summarized by one metric (``metric.py``, ``summary.py``,
``statistics.py``). The summaries become tables and sentences (``report.py``, ``edges.py``, ``design.py``) and figures
(``figures.py``). ``planned.py`` tests pairs that are planned before their runs. Read ``comparison.py`` first.
"""
