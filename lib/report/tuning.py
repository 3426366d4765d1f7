"""How the hyperparameters were chosen: the values of every recipe, what was tried, and on which sets."""

import pandas as pd

from lib.report.runs import NOT_RUN, Runs, finished
from lib.runs.params_files import load_params_file
from lib.runs.paths import root

_NO_HYPERPARAMETERS = {"preset", "seed", "policy", "negatives", "limit", "problems"}


def hyperparameters(rows: dict[str, Runs]) -> pd.DataFrame:
    """A line per row: the policy that it starts from, and the notebook's parameters with which it was run."""
    lines = {}
    for name, runs in rows.items():
        stages = list(finished(runs).values())
        values = stages[0].info["parameters"] if stages else {}
        chosen = {key: value for key, value in values.items() if key not in _NO_HYPERPARAMETERS}
        lines[name] = {
            "starts from": values.get("policy", NOT_RUN),
            "parameters": ", ".join(f"{key} {value}" for key, value in chosen.items()),
        }
    return pd.DataFrame(lines).T


def shared_values(preset: dict) -> pd.DataFrame:
    """The values of the preset that every run of a kind of training shares; a line per block."""
    blocks = {name: preset.get(name) or {} for name in ("sft", "dpo", "grpo", "repair")}
    texts = {name: ", ".join(f"{key} {value}" for key, value in block.items()) for name, block in blocks.items()}
    return pd.DataFrame({"values shared by all runs": {name: text or "TRL's defaults" for name, text in texts.items()}})


def tuning_table(preset: str) -> pd.DataFrame:
    """The tuning budget, from params/<preset>/tuning.yaml: per recipe and hyperparameter, what was tried, on which
    sets, by how many seeds, and what was chosen. Empty where the preset has no such file: nothing was tuned."""
    file = root() / "params" / preset / "tuning.yaml"
    columns = ["recipe", "hyperparameter", "tried", "on", "seeds", "chosen"]
    lines = load_params_file(file)["tried"] if file.is_file() else []
    return pd.DataFrame(lines, columns=columns).astype(str)
