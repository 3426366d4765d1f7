"""What the programs of a policy cost on the heavy inputs of the tiny world."""

import math
from collections.abc import Sequence

import pandas as pd
from scipy import stats

from lib.judge import Judge
from lib.judge.answers import extract
from lib.judge.cost import Meter
from lib.metrics import beyond, dps, geometric_mean, require_judge, speed_up
from lib.policy.generation import generate
from lib.policy.prompts import messages
from lib.problems import Problem
from lib.tiny.efficiency import Pool, measured
from lib.training.rloo import require_meter

INPUT, HIDDEN_INPUT = -2, -3  # seeds of inputs that no training uses
SETS = ("all", "wide")


def measure_policy(
    model, tokenizer, problems: Sequence[Problem], judge: Judge, meter: Meter, pool: Pool, **decoding
) -> pd.DataFrame:
    """Greedy answers to the light view of `problems`, judged; accepted programs are measured on two heavy inputs.

    A row per problem: `problem_id`, `program`, `error_type`, `cost` on one input and `hidden_cost` on the other (none
    where the program is wrong), `best` and `contrast` of the pool, and `wide`. `decoding`: arguments of `generate`.
    Raises JudgeFailure if judge or meter failed on more than 1 % of the programs.
    """
    instruction = decoding.pop("instruction", "")
    answers = generate(model, tokenizer, [messages(problem, instruction) for problem in problems], **decoding)
    programs = [extract(answer.text, judge.answer_block).program for [answer] in answers]
    verdicts = judge.judge_many(list(zip(programs, problems, strict=True)))
    require_judge(verdicts)
    table = pd.DataFrame(
        {
            "problem_id": [problem.id for problem in problems],
            "program": programs,
            "error_type": [verdict.error_type for verdict in verdicts],
            "best": [pool.costs["heavy"][problem.id][0] for problem in problems],
            "contrast": [pool.contrast(problem) for problem in problems],
            "wide": [pool.wide(problem) for problem in problems],
        }
    )
    accepted = [n for n, verdict in enumerate(verdicts) if verdict.accepted]
    for column, seed in (("cost", INPUT), ("hidden_cost", HIDDEN_INPUT)):
        pairs = [(programs[n], measured(problems[n], seed)) for n in accepted]
        costs = meter.measure_many(pairs)
        require_meter(costs, 0.01 * len(costs))
        counts = {n: cost.count for n, cost in zip(accepted, costs, strict=True)}
        table[column] = pd.Series(counts, dtype=float).reindex(table.index)
    return table


def summarize_costs(table: pd.DataFrame, pool: Pool) -> pd.DataFrame:
    """A row for all problems and one for the wide ones, of a table of `measure_policy`.

    `accepted`: share of the problems; `right_on_heavy`: share of the accepted programs; `times_best`: geometric mean of
    the cost over that of the best known way; `over_2x`: share of the programs that cost twice as much or more;
    `log_beyond` in [0, 1] and `dps_norm` in [0, 100] count a wrong program as 0.
    """
    rows = {}
    for name, part in zip(SETS, (table, table[table.wide]), strict=True):
        ratios = (part.cost / part.best).dropna()
        references = [pool.costs["heavy"][problem] for problem in part.problem_id]
        costs = [None if math.isnan(cost) else cost for cost in part.cost]
        scored = list(zip(costs, references, strict=True))
        accepted = part.error_type == "success"
        rows[name] = {
            "n": len(part),
            "accepted": accepted.mean(),
            "right_on_heavy": part.cost[accepted].notna().mean(),
            "times_best": geometric_mean(list(ratios)),
            "over_2x": (ratios >= 2).mean(),
            "log_beyond": sum(beyond(cost, ways, log=True) for cost, ways in scored) / max(1, len(part)),
            "dps_norm": sum(dps(cost, ways[::-1], ways)[1] for cost, ways in scored) / max(1, len(part)),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def speed_ups(before: pd.DataFrame, after: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The paired speed-up on the problems that both solve, with its interval: for all problems, and the wide ones."""
    rows = {}
    for name in SETS:
        sides = [side if name == "all" else side[side.wide] for side in (before, after)]
        costs = [side.dropna(subset="cost").set_index("problem_id").cost.to_dict() for side in sides]
        rows[name] = speed_up(*costs, seed=seed)
    return pd.DataFrame.from_dict(rows, orient="index")


def hidden_check(table: pd.DataFrame) -> dict:
    """`wrong`: accepted programs that are wrong on the hidden input; `rank_correlation` of the costs on both inputs."""
    accepted = table[table.error_type == "success"]
    both = accepted.dropna(subset=["cost", "hidden_cost"])
    rank = stats.spearmanr(both.cost, both.hidden_cost).statistic if len(both) > 2 else None
    return {"wrong": int(accepted.hidden_cost.isna().sum()), "rank_correlation": rank and float(rank)}
