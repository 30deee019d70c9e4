"""From a record, or any log of norms, to findings and remedies.

Read ``diagnose.py`` first, the way in. A log (``log.py``) becomes numbers (``evidence.py``), these become findings
(``findings.py``), whose conditions are in ``conditions.py``, what is not known (``unknown.py``), and remedies
(``suggestions.py``; where a probe has tried them, ``probe_results.py``), each written as our settings and as code
(``remedy.py``). ``explosion.py`` reports on a training that diverged; ``read_log.py`` reads files.
"""
