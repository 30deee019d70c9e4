"""Multiruns: the vectorized launcher, the results of jobs, the parent run, the final table, hyperparameter search.

Jobs in, runs and tables out, whichever launcher runs the jobs. The vectorized launcher *stacks* jobs that differ in
seed and numbers only (:mod:`gradclip.stacked` trains them); each stacked training is a *replica*, and its run is a run
like any other. Read :mod:`~gradclip.sweep.stacked_jobs` first for stacked trainings, :mod:`~gradclip.sweep.report` for
what happens at the end.
"""
