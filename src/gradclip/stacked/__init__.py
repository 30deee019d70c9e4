"""Many trainings at once: replicas that differ in seed and in numbers, stacked under ``torch.vmap``.

``replicas.py`` builds each replica's data and initial network; ``training.py`` trains them all, through the stacked
network, clipper and optimizers, and returns for each what its ordinary run would. Read
:meth:`gradclip.stacked.training.StackedTraining.run` first.
"""
