"""Lightning callbacks that clip and monitor gradients, and that save and stop a training.

Read ``clip_gradients.py`` and ``gradient_monitor.py`` first: thin layers over ``loops/``, which does the same without
Lightning. In ``Trainer(callbacks=[...])``, a monitor must come before the callback that clips, since clipping changes
the gradients in place.
"""
