"""From the record of a diverged training to findings and remedies.

:func:`gradclip.diagnosis.explosion.explain` reads a :class:`~gradclip.telemetry.record.GradientRecord` and returns the
explosion report, as text and as JSON. Read ``explosion.py`` from :func:`explain` on.
"""
