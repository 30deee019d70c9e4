"""What stops a command."""

import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
AT_ONCE = 1.0  # seconds after which another signal is a second wish: a terminal and a launcher may both send the first
