"""Data sets as Lightning data modules: tables, time series and synthetic sequences.

``files`` reads a user's file, ``typed_columns`` infers the types of its columns, ``left_out`` drops columns and rows,
and ``checks`` refuses values that cannot be trained on. ``sources``, ``time_series`` and ``tasks`` read or generate
examples; ``scaling`` is fitted on the training rows. ``tabular``, ``series`` and ``sequences`` form batches with
``loaders``. Start with ``base``, the interface between data sets and training.
"""
