"""What the gradients did at every optimizer step, as plain arrays.

A :class:`~gradclip.telemetry.steps.Recorder` measures gradients and weights on the device (``measures.py``) and
returns blocks of steps as a :class:`~gradclip.telemetry.record.GradientRecord`, from which norms, percentiles and the
first non-finite value (``divergence.py``) are read. There are two, for small and for large networks (``recorders.py``);
norms after clipping are derived from those before where that is possible (``rescaled.py``). Read ``record.py`` first,
then ``steps.py``.
"""
