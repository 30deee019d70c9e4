"""Comparison of stored runs over seeds, without any training.

<<<<<<< HEAD
Runs on one data set (``data_sets.py``) are grouped by their settings (``grouping.py``), and each group gets a label
(``words.py``). Groups and pairs of groups are summarized by one metric (``metric.py``, ``summary.py``,
``statistics.py``). The summaries become tables and sentences (``report.py``, ``edges.py``, ``design.py``) and figures
(``figures.py``). ``planned.py`` tests pairs that are planned before their runs. Read ``comparison.py`` first.
=======
Runs on one data set (data_sets) are grouped by their settings (grouping), and each group gets a label (labels). Groups
and pairs of groups are summarized by one metric (metric, summary, statistics), and the summaries become tables and
sentences (report, edges, design) and figures (figure_data, figures). Pairs that are planned before their runs have
tests of their own (planned). Read comparison.py first.
>>>>>>> critic1
"""
