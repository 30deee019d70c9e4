"""Lightning callbacks that clip and monitor gradients, and that save and stop a training run.

They are thin layers over ``loops/``, which does the same without Lightning. In ``Trainer(callbacks=[...])``, a monitor
must come before the callback that clips, since clipping changes the gradients in place. Read ``clip_gradients.py``
first, then ``gradient_monitor.py``.
"""
