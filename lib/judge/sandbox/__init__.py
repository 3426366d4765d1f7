"""The life of one program, in slim processes of a plain Python. Expected outputs of stdio problems never come here.

The modules import each other by their bare names: they run as programs, without the package around them. `ZYGOTE` is
what the judge starts; `frames` is the protocol between the two sides.
"""

from pathlib import Path

ZYGOTE = Path(__file__).with_name("zygote.py")
