"""`python -m lib.ledger check artifacts/`: the door to lib.problems.ledger."""

import sys

from lib.problems.ledger import main

if __name__ == "__main__":
    sys.exit(main())
