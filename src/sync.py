"""Send what a store did not take while runs trained: it waits in their folders.

python src/sync.py                      everything below mlruns
python src/sync.py mlruns/hydra/runs    everything below another folder
"""

import sys

from gradclip.cli.sync import run_sync

if __name__ == "__main__":
    sys.exit(run_sync(sys.argv[1:], str(__doc__)))
