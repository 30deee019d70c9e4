"""Multiruns: the vectorized launcher, the results of jobs, the parent run, the closing table, the search of ranges.

Jobs in, runs and tables out, whichever launcher runs the jobs. Read :mod:`~gradclip.sweep.stacked_jobs` first for
stacked trainings, :mod:`~gradclip.sweep.report` for what happens at the end.
"""
