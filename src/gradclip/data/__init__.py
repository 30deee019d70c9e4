"""Data sets as Lightning data modules: tables, time series and synthetic sequences.

``files`` reads a user's file, ``typed_columns`` says what its columns hold, ``left_out`` what is no input, and
``checks`` refuses what cannot be trained on. ``sources``, ``time_series`` and ``tasks`` make or read examples, and
``scaling`` learns from the training rows. ``tabular``, ``series`` and ``sequences`` turn them into batches with
``loaders``. Read ``base`` first: it is what training knows of any data set.
"""
