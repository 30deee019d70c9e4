"""Implementation of :class:`gradclip.tracking.operations.Operations` with MLflow.

Apart from the predictor of a stored model, only this package imports MLflow. It runs in the tracking process.
``operations.py`` combines all operations in one class. Read ``delivery.py`` first: it retries or spools each call;
``batches.py`` does so for many runs at once.
"""
