"""Measures policies on problem sets: `evaluate.evaluate` generates, judges and writes metrics. `checkpoints`,
`best_of_n` and `dialogues` (multi-round repair) measure the rest; `sampling` gives the judged samples that trainings
use; `export` makes a model folder of a checkpoint."""
