"""Comparison of stored runs over seeds; nothing is trained here.

Stored runs on one data set (data_sets) are grouped by their settings (grouping) and called by what differs (words).
Each group and each pair of groups becomes numbers of one metric, on the rows that choose (metric, summary, statistics),
and the numbers become tables and sentences (report, edges, design) and figures (figure_data, figures). Pairs that were
planned before their runs have tests of their own (planned). Read comparison.py first.
"""
