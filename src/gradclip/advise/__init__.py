"""Advice on a stored run: which clipping to try at which threshold, and why.

The telemetry of a run becomes numbers (evidence), these become sentences (findings) and settings to try (suggestions),
and both are printed with their commands (report). With confirm=true the settings are trained over several seeds
(training) and the results compared (confirmation). Read report.py first.
"""
