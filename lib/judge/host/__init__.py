"""The side of the calling process: queue, workers, comparison and scoring. Expected outputs never leave this side."""
