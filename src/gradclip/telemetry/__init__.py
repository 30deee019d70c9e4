"""What the gradients did at every optimizer step, as plain arrays.

A :class:`~gradclip.telemetry.recorders.Recorder` measures gradients and weights on the device (``measures.py``) and
returns blocks of steps as a :class:`~gradclip.telemetry.record.GradientRecord`, from which norms, percentiles and the
first non-finite value are read. Read ``record.py`` first, then ``recorders.py``.
"""
