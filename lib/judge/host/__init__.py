"""The side of the calling process: queue, workers, comparison and scoring. Expected outputs never leave this side.
`memory` caches prepared problems and verdicts in this process; `cache` stores verdicts on disk."""
