"""Data sets as Lightning data modules: tables, time series and synthetic sequences.

``sources``, ``series`` and ``tasks`` read or generate examples, ``checks`` refuses what cannot be trained on, and
``scaling`` fits the scalers on the training rows. ``tabular``, ``series`` and ``sequences`` turn them into batches with
``loaders``. Read ``base`` first: it is what training knows of any data set.
"""
