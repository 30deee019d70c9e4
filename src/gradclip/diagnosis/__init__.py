"""Findings and remedies, from a record or any log of norms.

``gathering.py`` computes numbers from a log (``log.py``); ``evidence.py`` says what they show, by the conditions in
``conditions.py``. They lead to findings (``findings.py``), open questions (``open_questions.py``) and remedies
(``suggestions.py``; ``probe_results.py`` if a probe tried them). ``remedy.py`` writes each remedy as settings and as
code. ``explosion.py`` reports on a training run that diverged, with its own remedies (``explosion_remedies.py``);
``read_log.py`` reads files. Read ``diagnose.py`` first.
"""
