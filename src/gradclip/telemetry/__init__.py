"""Gradient and weight statistics of every optimizer step, as plain arrays.

A recorder (``steps.py``) measures gradients and weights on the device (``measures.py``) and returns blocks of steps as
a record (``record.py``): norms, percentiles and the first non-finite value (``divergence.py``). ``recorders.py`` has
two recorders, for small and for large networks. Norms after clipping are derived from the norms before it where
possible (``rescaled.py``). Read ``record.py`` first.
"""
