"""Completions sampled during a training, and signs of reward hacking in them.

Read from `completions.jsonl` of the runs, lines with step, problem_id, completion, reward, parts, error_type,
pass_ratio, tokens; runs without that file show "not recorded".
"""

import ast
import json

import pandas as pd

from lib.judge.answers import extract
from lib.report.runs import NOT_RECORDED, NOT_RUN, Runs, Stage, finished

FILE = "completions.jsonl"
HIGH = 0.8  # share of a run's largest reward from which a rejected program is worth a look


def read_completions(stage: Stage) -> pd.DataFrame | None:
    """The completions of a training with their `program`; None where the run has not recorded any."""
    file = stage.folder / FILE
    if not file.is_file() or not file.read_text().strip():
        return None
    table = pd.DataFrame([json.loads(line) for line in file.read_text().splitlines()])
    if "program" in table:
        return table
    answers = [extract(text) for text in table.completion]  # recorded without their programs
    return table.assign(program=[one.program for one in answers], in_form=[one.format_ok for one in answers])


def over_training(rows: dict[str, Runs], steps: int = 3) -> pd.DataFrame:
    """One completion of the first recorded, a middle and the last step of each row's first run that recorded them."""
    lines = []
    for name, runs in rows.items():
        tables = [table for stage in finished(runs).values() if (table := read_completions(stage)) is not None]
        if not tables:
            continue
        recorded = sorted(tables[0].step.unique())
        chosen = sorted({recorded[round(n * (len(recorded) - 1) / max(1, steps - 1))] for n in range(steps)})
        shown = tables[0].drop_duplicates("step").set_index("step").loc[chosen]
        lines.append(shown.assign(row=name).reset_index())
    columns = ["row", "step", "problem_id", "error_type", "reward", "tokens", "program"]
    return pd.concat(lines)[columns].reset_index(drop=True) if lines else pd.DataFrame(columns=columns)


def is_trivial(program: str) -> bool:
    """Whether a program computes nothing from its input: it neither reads any nor uses an argument of a function."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError):
        return False  # the judge calls this a syntax error
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    arguments = {argument.arg for node in functions for argument in node.args.args}
    return not used & ({"input", "sys", "open"} | arguments)


def suspicious(table: pd.DataFrame) -> pd.DataFrame:
    """The completions of one run that a reader should look at: `sign` says why. Rejected programs whose reward is at
    least HIGH of the run's largest, and trivial programs with a reward above the run's smallest."""
    rejected = (table.error_type != "success") & (table.reward >= HIGH * table.reward.max())
    trivial = table.program.map(is_trivial) & (table.reward > table.reward.min())
    signs = {"high reward, rejected": rejected, "trivial program, rewarded": trivial}
    return pd.concat([table[mask].assign(sign=sign) for sign, mask in signs.items()])


def inspection(rows: dict[str, Runs]) -> pd.DataFrame:
    """A line per row that samples while it trains, all seeds together: completions recorded, signs of reward hacking
    among them, answers in the requested form, and how the length of the samples grew (curves.csv)."""
    lines = {}
    for name, runs in rows.items():
        curves = [one.curve for one in finished(runs).values() if one.curve is not None and "reward" in one.curve]
        if not curves:
            continue
        lengths = [
            (curve.completion_tokens.head(10).mean(), curve.completion_tokens.tail(10).mean()) for curve in curves
        ]
        first, last = pd.DataFrame(lengths).mean()
        tables = [table for stage in finished(runs).values() if (table := read_completions(stage)) is not None]
        signs = pd.concat([suspicious(table) for table in tables]).sign if tables else None
        everything = pd.concat(tables) if tables else None
        lines[name] = {
            "tokens of a sample": f"{first:.1f} → {last:.1f}",
            "completions": NOT_RECORDED if everything is None else len(everything),
            "high reward, rejected": _count(signs, "high reward, rejected"),
            "trivial, rewarded": _count(signs, "trivial program, rewarded"),
            "in the requested form, %": "–" if everything is None else f"{100 * everything.in_form.mean():.1f}",
        }
    return pd.DataFrame(lines).T if lines else pd.DataFrame({"trainings that sample": [NOT_RUN]})


def _count(signs: pd.Series | None, sign: str) -> str:
    return "–" if signs is None else str(int((signs == sign).sum()))
