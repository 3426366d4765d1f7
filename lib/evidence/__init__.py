"""Evidence: the record that a run leaves in its notebook. Importing this package loads no more than that."""

from lib.evidence.record import MIME, Evidence, plain, to_json

__all__ = ["MIME", "Evidence", "plain", "to_json"]
