"""Findings and remedies, from a record or any log of norms.

``evidence.py`` computes numbers from a log (``log.py``). These lead to findings (``findings.py``, with their conditions
in ``conditions.py``), to a list of what is not known (``open_questions.py``) and to remedies (``suggestions.py``;
``probe_results.py`` if a probe tried them). ``remedy.py`` writes each remedy as settings and as code. ``explosion.py``
reports on a training run that diverged; ``read_log.py`` reads files. Read ``diagnose.py`` first.
"""
