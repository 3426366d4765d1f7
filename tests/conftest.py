"""For all tests: interruptions reach the programs that a test starts.

A shell's background job inherits an ignored SIGINT and hands it on to every process below; with Python's own handler
set here, children start with the default again.
"""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
