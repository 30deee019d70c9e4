"""Lightning callbacks: clip gradients, monitor them, save and stop a training.

Each is a thin layer over ``clipping/`` or ``telemetry/`` and is passed to ``Trainer(callbacks=[...])``; monitors come
before the callback that clips, which changes the gradients in place. Read ``clip_gradients.py`` first, then
``gradient_monitor.py``.
"""
