"""Runs: parameters, folders, records and the matrix. A notebook needs only `from lib.runs import start`."""

from .run import Run, UpstreamError, start

__all__ = ["Run", "UpstreamError", "start"]
