"""Comparison of stored runs over seeds; nothing is trained here.

Stored runs are grouped by their settings (grouping), each group and each pair of groups becomes numbers (summary,
statistics), and the numbers become tables and sentences (report) and figures (figure_data, figures).
Read comparison.py first.
"""
