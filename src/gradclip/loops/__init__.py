"""Clipping and monitoring of any torch optimizer, in any training loop.

``watch.py`` hooks into an optimizer. It joins two parts that the Lightning callbacks use too: ``in_place.py`` clips the
gradients of an optimizer's parameters, and ``monitor.py`` records its steps. ``hugging_face.py`` is a callback for the
Trainer of Transformers. ``scaled_steps.py`` handles a loss scaler; ``unwrapping.py`` finds the module and the optimizer
inside the wrappers of other libraries. Read ``watch.py`` first.
"""
