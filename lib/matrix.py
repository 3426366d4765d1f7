"""Starts the matrix: `python -m lib.matrix <preset> [<run> ...]`, see lib.runs.matrix."""

import sys

from lib.runs.matrix import main

if __name__ == "__main__":
    sys.exit(main())
