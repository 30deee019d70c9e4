"""Stacked training of many replicas, which differ in seed and numbers, under ``torch.vmap``.

``replicas.py`` builds each replica's data and initial network. ``training.py`` trains them together, with the stacked
network, clipper and optimizers, and returns for each replica the result of its ordinary run. Read ``training.py``
first, from ``StackedTraining.run``.
"""
