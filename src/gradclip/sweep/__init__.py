"""Multiruns: the vectorized launcher, the results of jobs, the parent run, the final table, hyperparameter search.

Results, runs and tables are the same for every launcher. The vectorized launcher *stacks* jobs that differ only in the
seed and in numbers, and ``stacked/`` trains them. Each of them is a *replica*, and its run is stored like any other
run. Read ``report.py`` first for the end of a multirun, and ``stacked_jobs.py`` for stacked training.
"""
