"""One training run: build its components, train, judge and save the result; resume a stopped run.

Read :func:`gradclip.training.pipeline.train` first, from top to bottom: it takes a
:class:`~gradclip.training.job.Job` and returns a :class:`~gradclip.training.result.Result`.
"""
