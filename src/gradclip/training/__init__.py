"""One run: its components are built, it trains, its result is judged, saved and stored; a stopped run is resumed.

A :class:`~gradclip.training.job.Job` goes in, a :class:`~gradclip.training.result.Result` comes out. Read
:func:`gradclip.training.pipeline.train` first, from top to bottom.
"""
