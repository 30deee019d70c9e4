"""Data sets as Lightning data modules: tables, time series and synthetic sequences.

``files.py`` reads a user's file, ``typed_columns.py`` infers the types of its columns, ``left_out.py`` drops columns
and rows, and ``checks.py`` refuses values that cannot be trained on. ``sources.py``, ``time_series.py`` and
``tasks.py`` read or generate examples; ``tabular.py``, ``series.py`` and ``sequences.py`` form batches of them. Read
``base.py`` first: it is the interface between data sets and training.
"""
