"""Networks, the LightningModules that train them, and losses, optimizers and schedules by name.

Read ``module`` first: it trains a network and computes its score. ``build`` builds a network from a class path and
settings, and checks that it fits the data. ``unrolling`` runs recurrent layers step by step to expose their hidden
states.
"""
