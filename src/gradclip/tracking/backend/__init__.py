"""What MLflow sees: the implementation of :class:`gradclip.tracking.operations.Operations`.

Only here is MLflow imported; all of it runs in the tracking process. Read :mod:`~gradclip.tracking.backend.delivery`
first, which takes each call, retries or spools it; :mod:`~gradclip.tracking.backend.operations` joins the operations.
"""
