"""The largest numbers and the longest texts that a setting can be."""

LARGEST = 3.4e38  # of a number that training in float32 can hold
LARGEST_RATE = 1e10  # of a learning rate or a weight decay: their product, and one over 1e-16, fit float32 too
MAX_INTEGER = 2**31 - 1  # of a number that torch counts with
MAX_SECONDS = 366 * 24 * 3600
MAX_TEXT = 4096  # characters: no path is longer
MAX_NAME = 250  # characters of a dotted name, as every store takes it
MAX_DEPTH = 20  # of lists and mappings within each other
MAX_VALUES = 10**8  # numbers of one data set, and weights of one network: 0.8 GB each, and several copies of them
