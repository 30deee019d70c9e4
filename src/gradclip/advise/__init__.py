"""Advice on a stored run: which clipping to try at which threshold, and why.

The telemetry and the settings of a run become evidence, from which :mod:`gradclip.diagnosis` finds what to try; report
prints it with commands. With confirm=true the settings and others (arms) are trained over several seeds (training) and
tested (confirmation), which ends with verdicts and a recommendation. Read report.py first.
"""
