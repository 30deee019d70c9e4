"""Implementation of :class:`gradclip.tracking.operations.Operations` with MLflow.

Apart from the predictor of a stored model, only this package imports MLflow. It runs in the tracking process. Read
:mod:`~gradclip.tracking.backend.delivery` first, which retries or spools each call;
:mod:`~gradclip.tracking.backend.operations` combines all operations in one class.
"""
