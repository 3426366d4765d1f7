"""QA logs: prompts and answers of every error type, drawn with a seed, for people to read.

The quotas go by the role of the set: 5 answers of each error type and 5 random ones of a set that checkpoints are
selected by, 10 of each type of a test set, 5 of each type of any other.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lib.judge.verdict import ERROR_TYPES
from lib.problems import Problem, role_of
from lib.runs.paths import json_lines, write_atomically

QUOTAS = {"select": (5, 5), "test": (10, 0)}  # role -> answers of each error type, random ones
DEFAULT_QUOTA = (5, 0)


def write_qa_logs(
    folder: Path, sets: Mapping[str, Sequence[Problem]], lines: Mapping[str, list[dict]], seed: int
) -> None:
    """Writes `folder`/<set>.jsonl with the drawn lines of each set, and qa_summary.json with their counts.

    `lines`: set -> one object per sample with at least `error_type`; what is drawn also gets its `stratum`.
    """
    counts = {}
    for name, of_set in lines.items():
        kept = draw(of_set, _role(sets[name]), seed)
        counts[name] = summarize_draw(of_set, kept)
        write_atomically(folder / f"{name}.jsonl", json_lines(kept))
    write_atomically(folder / "qa_summary.json", json.dumps(counts, indent=2, sort_keys=True) + "\n")


def draw(lines: list[dict], role: str, seed: int) -> list[dict]:
    """The lines to keep, by error type, then the random ones of the rest; each stratum in the set's order."""
    per_type, at_random = QUOTAS.get(role, DEFAULT_QUOTA)
    kept: dict[int, str] = {}
    for stratum, quota in {**dict.fromkeys(ERROR_TYPES, per_type), "random": at_random}.items():
        pool = [n for n, line in enumerate(lines) if n not in kept and stratum in (line["error_type"], "random")]
        # A seed per stratum: more failures of one type don't change the sample of another.
        chosen = sorted(random.Random(f"{seed} {stratum}").sample(pool, min(quota, len(pool))))
        kept |= dict.fromkeys(chosen, stratum)
    return [lines[n] | {"stratum": stratum} for n, stratum in kept.items()]


def summarize_draw(lines: list[dict], kept: list[dict]) -> dict:
    """How many lines there are of each error type and how many were kept for it; how many were kept at random."""
    found, strata = Counter(line["error_type"] for line in lines), Counter(line["stratum"] for line in kept)
    by_type = {name: {"found": found[name], "kept": strata[name]} for name in ERROR_TYPES}
    return {"n": len(lines), "by_error_type": by_type, "random": strata["random"]}


def _role(problems: Sequence[Problem]) -> str:
    """The role of the problems' set; "" if no preset and no manifest declares one."""
    try:
        return role_of(problems[0].dataset, problems[0].split) if problems else ""
    except ValueError:
        return ""
