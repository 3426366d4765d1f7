"""Policies: `models.load_policy` loads a model, `prompts` builds conversations, `generation` and
`engines.open_engine` produce completions; `protocols` holds the named decoding presets of measurements."""
