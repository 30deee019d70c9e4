"""Figures from plain arrays, one kind of figure per file, all in the same style.

Each ``plot_…`` function fills an empty Matplotlib figure, and ``draw`` in style.py saves it. Read style.py first: it
has the colours, and the rules for axes and legends.
"""
