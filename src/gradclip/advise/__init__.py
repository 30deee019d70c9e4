"""Advice on a stored run: which clipping to try at which threshold, and why.

The telemetry and the settings of a run become evidence, from which :mod:`gradclip.diagnosis` finds what to try; report
prints it with commands. With confirm=true the settings are trained over several seeds (training) and the results
compared (confirmation). Read report.py first.
"""
