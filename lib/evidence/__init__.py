"""Compares pages with the records of executed notebooks: `python -m lib.evidence check`, `fill`, `index`, `html`.
`runs` reads the records, `stale` finds outdated runs, `blocks` writes the figures of pages from the records."""
