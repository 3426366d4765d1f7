"""Tables, figures and verdicts of the report: `runs.read_runs` collects the runs, `comparison.compare` decides between
two methods. `changes` compares all metrics of two runs; `outcomes` says how each submitted program ended."""
