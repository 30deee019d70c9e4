"""Lightning callbacks: clip gradients, monitor them, save and stop a training.

``clip_gradients.py`` and ``gradient_monitor.py`` are thin over ``loops/``, which does the same without Lightning. In
``Trainer(callbacks=[...])`` a monitor comes before the callback that clips, which changes the gradients in place. Read
these two first.
"""
