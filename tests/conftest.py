"""For all tests: interruptions reach the programs that a test starts.

A shell's background job inherits an ignored SIGINT and hands it on to every process below; with Python's own handler
set here, children start with the default again.
"""

import signal

from hypothesis import settings

signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: on a busy machine the time of one example says nothing.
settings.register_profile("house", deadline=None, max_examples=50)
settings.load_profile("house")
