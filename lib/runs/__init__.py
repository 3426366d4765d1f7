"""Runs: parameters, folders, records and the matrix. A notebook needs `from lib.runs import start` alone."""

from lib.runs.run import Run, UpstreamError, start

__all__ = ["Run", "UpstreamError", "start"]
