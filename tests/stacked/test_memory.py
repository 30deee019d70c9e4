import platform
import subprocess
import sys

import pytest

PAGE_FAULTS = """
import resource, sys
import numpy as np
if sys.argv[1] == "kept":
    from gradclip.stacked.memory import keep_freed_memory
    keep_freed_memory()
for number in range(20):
    np.full(2_000_000, 1.0) + np.full(2_000_000, 1.0)
    if number == 0:
        start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""


def page_faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", PAGE_FAULTS, how], capture_output=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_is_taken_from_the_system_once():
    assert page_faults("kept") < page_faults("given back") / 10
