"""The life of one program, in slim processes of a plain Python. Expected outputs of stdio problems never come here.

The modules import each other by their bare names: they run as programs, without the package around them. `ZYGOTE` is
what the judge starts; `frames` is the protocol between the two sides.
"""

import subprocess
import sys
from pathlib import Path

ZYGOTE = Path(__file__).with_name("zygote.py")
# The interpreter behind a virtual environment, without site-packages.
PYTHON = [getattr(sys, "_base_executable", None) or sys.executable, "-s", "-S"]
# Nothing of this process: not its folder, streams or session, so that Ctrl-C reaches the judge, which ends its workers.
_STREAMS = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
DETACHED: dict = {"cwd": "/", "start_new_session": True, **_STREAMS}
