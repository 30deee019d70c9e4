"""Figures from plain arrays: one kind of figure a file, in one style.

Each ``plot_…`` function fills an empty Matplotlib figure; ``draw`` in style.py saves it. Read style.py first: it has
the colours, and the rules for axes and legends.
"""
