"""Upper limits of the numbers and texts in settings."""

LARGEST_RATE = 1e10  # learning rates and weight decays: their product, and a rate divided by 1e-16, fit in float32
MAX_INTEGER = 2**31 - 1  # for integers that torch counts with
MAX_SECONDS = 366 * 24 * 3600
MAX_TEXT = 4096  # characters: no path is longer
MAX_NAME = 250  # characters of a dotted name that every store accepts
MAX_DEPTH = 20  # levels of nested lists and mappings
MAX_VALUES = 10**8  # numbers in a data set, and weights of a network: 0.8 GB each, and training makes several copies
