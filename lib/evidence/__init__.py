"""Compares pages with the records of executed notebooks: `python -m lib.evidence check`, `fill`, `index`, `html`.
`readme` has the texts of the generated blocks, `values` reads figures from records, `stale` finds outdated runs."""
