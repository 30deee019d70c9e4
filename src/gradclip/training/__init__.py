"""One training run: build its components, train, judge and save the result; resume a stopped run.

``pipeline.py`` takes a job (``job.py``) and returns a result (``result.py``). Read ``pipeline.py`` first: its function
``train`` is one run from top to bottom.
"""
