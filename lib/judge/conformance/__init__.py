"""Is this judge right? A gallery of programs with known verdicts, the checks of `02_judge`, naive runners."""
