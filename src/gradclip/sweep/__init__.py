"""Multirun: the notes that its jobs leave, and the report at its end."""
