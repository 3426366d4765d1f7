"""`python -m lib.matrix <preset> [<run> ...]`: the door to lib.runs.matrix."""

import sys

from lib.runs.matrix import main

if __name__ == "__main__":
    sys.exit(main())
