"""MLflow: the store, the process that writes to it, and the Lightning logger in front.

Everything MLflow does happens in a process of its own, so that it loads beside torch, writes beside training, and a
slow store never holds a step up.
"""
