"""Multiruns: the vectorized launcher, the results of jobs, the parent run, the final table, hyperparameter search.

Results, runs and tables are the same for every launcher. The vectorized launcher *stacks* jobs that differ only in the
seed and in numbers, and :mod:`gradclip.stacked` trains them. Each stacked training is a *replica*, and its run is
stored like any other run. Start with :mod:`~gradclip.sweep.stacked_jobs` for stacked trainings, and with
:mod:`~gradclip.sweep.report` for the end of a multirun.
"""
