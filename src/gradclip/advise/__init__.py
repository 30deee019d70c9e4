"""Advice on a stored run: which clipping to try at which threshold, and why.

The telemetry and the settings of a run (``choose_run.py``) become evidence (``evidence.py``), from which ``diagnosis/``
derives what to try. After an explosion, short training runs measure what helps (``probe.py``). With confirm=true, the
advised settings and others (``arms.py``) are trained over several seeds (``training.py``) and tested
(``confirmation.py``), with verdicts (``verdicts.py``) and a recommendation (``recommendation.py``). Nothing here
prints. Read ``report.py`` first.
"""
