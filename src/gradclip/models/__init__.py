"""Networks, the LightningModules that train them, and losses, optimizers and schedules by name.

``build`` makes a network from a class path and settings and checks that it fits the data; ``module`` trains it and
computes its score; ``unrolling`` runs recurrent layers step by step for those who need their hidden states. Read
``module`` first.
"""
