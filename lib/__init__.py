"""The laboratory's library. Set before anything here can load torch: OpenMP threads that wait asleep.

Spinning ones fight with the judge's workers for the cores; beside two busy processes, decoding took 46 s with spinning
and 3.7 s with sleeping threads (two cores, the tiny model).
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
