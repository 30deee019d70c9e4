"""What becomes of memory that is freed."""

import ctypes
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
MOST_KEPT = 2**30  # bytes
LEAST_LIMIT = 2**25  # bytes of one piece; an older glibc takes no more


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for what comes next; other systems stay as they are.

    It would give the activations of all replicas back to the system after each batch, and get them anew, 4 kB at a
    time and filled with zeros: that takes as long as to compute them.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(TRIM_THRESHOLD, MOST_KEPT)
        if not library.mallopt(MMAP_THRESHOLD, MOST_KEPT):
            library.mallopt(MMAP_THRESHOLD, LEAST_LIMIT)
