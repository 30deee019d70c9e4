"""Advice on a stored run: which clipping to try at which threshold, and why.

The telemetry and the settings of a run, the one that is named or the newest (``newest``), become evidence
(``evidence``), from which :mod:`gradclip.diagnosis` finds what to try. After an explosion short trainings measure it
(``probe``). The advice becomes text with commands (``report``). With confirm=true the advised settings and others
(``arms``) are trained over several seeds (``training``) and tested (``confirmation``), which ends with tables and
sentences (``verdicts``) and what to use (``recommendation``). Nothing here prints. Read ``report.py`` first.
"""
