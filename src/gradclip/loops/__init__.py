"""Clip and monitor any optimizer of torch, in whatever loop it steps.

:class:`~gradclip.loops.watch.watch` hooks into an optimizer. It joins two pieces, which the Lightning callbacks use
too: ``in_place.py`` clips the parameters of an optimizer, ``monitor.py`` records its steps. ``hugging_face.py`` is a
callback for the Trainer of Transformers. ``unwrapping.py`` finds the module and the optimizer within those of other
libraries. Read ``watch.py`` first.
"""
