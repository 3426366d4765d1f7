"""Evidence: the record that a run leaves in its notebook, and the proof that what is quoted agrees with it.

    python -m lib.evidence check [--strict]     a line for everything that is wrong, and exit code 1
    python -m lib.evidence fill                 writes the figures that the markers of README.md ask for
    python -m lib.evidence index                writes artifacts/INDEX.md
    python -m lib.evidence html tiny            renders the report to one HTML file, as `make report` does

Importing this package loads no more than the record, which is all that runs need of it.
"""

from lib.evidence.record import MIME, Evidence, plain, to_json

__all__ = ["MIME", "Evidence", "plain", "to_json"]
