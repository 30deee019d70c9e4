"""Advice on a stored run: which clipping to try at which threshold, and why.

<<<<<<< HEAD
The telemetry and the settings of a run (``newest.py``) become evidence (``evidence.py``), from which ``diagnosis/``
derives what to try. After an explosion, short trainings measure what helps (``probe.py``). With confirm=true, the
advised settings and others (``arms.py``) are trained over several seeds (``training.py``) and tested
(``confirmation.py``), with verdicts (``verdicts.py``) and a recommendation (``recommendation.py``). Nothing here
prints. Read ``report.py`` first.
=======
The telemetry and the settings of a run, the named one or the newest (``choose_run``), become evidence (``evidence``),
from which :mod:`gradclip.diagnosis` derives what to try. After an explosion, short trainings measure what helps
(``probe``). The advice becomes text with commands (``report``). With confirm=true, the advised settings and others
(``arms``) are trained over several seeds (``training``) and tested (``confirmation``). The results are tables and
sentences (``verdicts``) and a recommendation (``recommendation``). Nothing here prints. Read ``report.py`` first.
>>>>>>> critic1
"""
