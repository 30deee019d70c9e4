"""Figures from plain arrays, all in one style.

Each file has one kind of figure. Each ``plot_…`` function fills an empty Matplotlib figure, and ``draw`` in
``style.py`` saves it. Read ``style.py`` first: it has the colours, and the rules for axes and legends.
"""
