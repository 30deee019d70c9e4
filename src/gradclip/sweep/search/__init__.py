"""A search in place of a grid: read :func:`gradclip.sweep.search.run.run_search` first."""
