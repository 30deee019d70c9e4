"""Networks, the LightningModules that train them, and losses, optimizers and schedules by name.

``module.py`` trains a network and computes its score. ``build.py`` builds a network from a class path and settings, and
checks that it fits the data. ``unrolling.py`` runs recurrent layers step by step to expose their hidden states. Read
``module.py`` first.
"""
