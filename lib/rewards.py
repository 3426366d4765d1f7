"""Rewards: pure functions of a judged sample, and the returns of repair dialogues.

A reward is one function `f(sample) -> Reward(value, parts)` in `REWARDS`; its parts appear in curves.csv. `make_reward`
looks it up by name or combines several by weights. A value of None means that the judge failed: the sample gives no
training signal and never counts as 0.
"""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from lib.judge.answers import extract
from lib.judge.cost import Cost
from lib.judge.verdict import Verdict
from lib.problems import Problem

ACCEPTED_BONUS = 0.2  # added to the return of a dialogue whose last program is accepted
WRONG_FORMAT, NO_ENTRY_POINT = -1.5, -0.5  # rewards of arXiv 2508.20124 for answers that can't be run
OVERLONG_CACHE = 0.2  # share of the token limit over which `soft_overlong` falls from 0 to -1; DAPO: 4096 of 20480


@dataclass(frozen=True)
class Sample:
    """One completion for one problem, judged.

    `tokens`: number of generated tokens, of at most `max_tokens`; `truncated`: the limit cut the completion off;
    `program`: what was extracted from the completion and judged; `format_ok`: the completion is one fenced block and
    nothing else, as the prompt asks. `cost`: what an accepted program costs on heavy inputs; `pool`: what known correct
    programs for the problem cost on such inputs, counted by the same tier.
    """

    completion: str
    tokens: int
    truncated: bool
    program: str
    verdict: Verdict
    problem: Problem
    format_ok: bool = False
    max_tokens: int = 0
    cost: Cost | None = None
    pool: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reward:
    """The reward of one sample. `value`: to train on, None if the judge failed. `parts`: named numbers for the log, the
    same names for every sample of a reward function; empty if the judge failed."""

    value: float | None
    parts: dict[str, float]


RewardFunction = Callable[[Sample], Reward]


def dense(sample: Sample) -> Reward:
    """The share of the tests that passed, in [0, 1]."""
    return _from_verdict(sample.verdict, sample.verdict.pass_ratio)


def sparse(sample: Sample) -> Reward:
    """1 when every test passed, else 0."""
    return _from_verdict(sample.verdict, sample.verdict.accepted)


def dense_by_visibility(sample: Sample) -> Reward:
    """The mean over public, generated and private tests of the share that passed; a test that was not run did not pass.

    Averaging over tests lets numerous easy tests dominate (cardinality bias, arXiv 2601.03525). Unlike that paper's
    adaptive weighting, each group has the same weight. Raises ValueError if the verdict's cases can't be assigned to
    the problem's tests.
    """
    verdict, kinds = sample.verdict, [test.visibility for test in sample.problem.tests]
    if verdict.error_type == "api_error" or len(set(kinds)) == 1:
        return dense(sample)
    if verdict.total != len(kinds):
        raise ValueError(
            f"{sample.problem.id}: {verdict.total} cases come from {len(kinds)} tests of several visibilities, so that "
            "they can't be told apart: use the reward `dense`"
        )
    passed = [result.error_type == "success" for result in verdict.tests]
    passed += [False] * (len(kinds) - len(passed))
    shares = [fmean(ok for ok, kind in zip(passed, kinds, strict=True) if kind == group) for group in set(kinds)]
    return _from_verdict(verdict, fmean(shares))


def format_reward(sample: Sample) -> Reward:
    """1 if the completion is exactly one fenced code block, as the prompt asks, else 0. Needs no judge."""
    return Reward(float(sample.format_ok), {"format_ok": float(sample.format_ok)})


def soft_overlong(sample: Sample) -> Reward:
    """The length penalty of DAPO (arXiv 2503.14476, eq. 13), in [-1, 0]. Needs no judge.

    With the limit L = `max_tokens`: 0 up to L - C tokens, then (L - C - tokens) / C. C = 0.2 L is the last 20 % of the
    limit, where the penalty falls linearly to -1 (DAPO's L_cache). Raises ValueError for a sample without its limit.
    """
    if sample.max_tokens <= 0:
        raise ValueError("soft_overlong needs the number of generated tokens and their limit (Sample.max_tokens)")
    cache = OVERLONG_CACHE * sample.max_tokens
    over = sample.tokens - (sample.max_tokens - cache)
    return Reward(-min(1.0, max(0.0, over / cache)), {"share_of_token_limit": sample.tokens / sample.max_tokens})


def efficiency_score(cost: float, pool: Sequence[float]) -> float:
    """The score of a correct program that costs `cost`, in [1, 2] (arXiv 2508.20124): with C = -ln cost, and G the same
    of each cost in `pool`,

        F(C, G) = S_min + (C - min G) (S_max - S_min) / (max G - min G), S_min = 1, S_max = min(2, 1 + max G - min G)

    where a program outside the pool's range is taken to its nearer end. 1 if all of the pool cost the same.
    """
    lowest, highest = -math.log(max(pool)), -math.log(min(pool))
    if highest == lowest:
        return 1.0
    score = 1 + (-math.log(cost) - lowest) * (min(2.0, 1 + highest - lowest) - 1) / (highest - lowest)
    return min(2.0, max(1.0, score))


def correctness(sample: Sample) -> Reward:
    """1 for an accepted program, 0 for a wrong one, -0.5 without the entry point, -1.5 without code (arXiv 2508.20124).
    The control of `efficiency`."""
    reward = _from_verdict(sample.verdict, sample.verdict.accepted)
    if reward.value is None or sample.verdict.accepted:
        return reward
    if extract(sample.completion).form in ("empty", "no code"):
        return Reward(WRONG_FORMAT, reward.parts)
    if sample.problem.entry_point and not _defines(sample.program, sample.problem.entry_point):
        return Reward(NO_ENTRY_POINT, reward.parts)
    return reward


def efficiency(sample: Sample) -> Reward:
    """As `correctness`, but `efficiency_score` for an accepted program, and 0 if it is wrong on the heavy inputs.

    None when the meter failed. Raises ValueError for an accepted program that was not measured.
    """
    reward = correctness(sample)
    if not sample.verdict.accepted:
        return reward
    if sample.cost is None or not sample.pool:
        raise ValueError(
            f"{sample.problem.id}: the reward `efficiency` needs the cost of an accepted program and a pool"
        )
    if sample.cost.count is None:
        return Reward(None, {}) if sample.cost.error_type == "api_error" else Reward(0.0, reward.parts)
    return Reward(efficiency_score(sample.cost.count, sample.pool), reward.parts)


def _defines(program: str, name: str) -> bool:
    """Whether the program defines a function or class `name`; True if it is not Python, which is another mistake."""
    try:
        nodes = list(ast.walk(ast.parse(program)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    return any(getattr(node, "name", getattr(node, "id", None)) == name for node in nodes)


REWARDS: dict[str, RewardFunction] = {
    "dense": dense,
    "sparse": sparse,
    "dense_by_visibility": dense_by_visibility,
    "format": format_reward,
    "soft_overlong": soft_overlong,
    "correctness": correctness,
    "efficiency": efficiency,
}


@dataclass(frozen=True)
class WeightedSum:
    """A reward function: the sum of `weights[name] * REWARDS[name](sample)`. Its parts are the value of each term under
    the term's name, and the parts of all terms. If any term is None, the sum is None."""

    weights: dict[str, float]

    @property
    def __name__(self) -> str:
        return " + ".join(f"{weight:g} {name}" for name, weight in self.weights.items())

    def __call__(self, sample: Sample) -> Reward:
        total, parts = 0.0, {}
        for name, weight in self.weights.items():
            term = REWARDS[name](sample)
            if term.value is None:
                return Reward(None, {})
            total += weight * term.value
            parts |= {name: term.value, **term.parts}
        return Reward(total, parts)


def make_reward(spec: str | Mapping[str, float]) -> RewardFunction:
    """Returns the reward function called `spec`, or the weighted sum for a mapping name -> weight.

    Raises ValueError for an unknown name, an empty mapping, and a weight that is not a number.
    """
    weights = {spec: 1.0} if isinstance(spec, str) else dict(spec)
    if unknown := [name for name in weights if name not in REWARDS]:
        raise ValueError(f"unknown reward {unknown[0]!r}; choose one of {', '.join(REWARDS)}")
    if not weights:
        raise ValueError(f"the mapping of rewards to weights is empty; choose from {', '.join(REWARDS)}")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise ValueError(f"the weight of the reward {name} is {weight!r}: it must be a number")
    return REWARDS[spec] if isinstance(spec, str) else WeightedSum({name: float(w) for name, w in weights.items()})


# The return of a dialogue -> the rounds whose pass ratios it adds up. `sum` can grow with the rounds: a nearly correct
# program submitted twice can score higher than a correct first answer.
RETURNS = {"last": slice(-1, None), "sum": slice(None)}
ReturnFunction = partial[float | None]  # of the verdicts of a dialogue


def dialogue_return(verdicts: Sequence[Verdict], name: str, round_penalty: float) -> float | None:
    """pass_ratio, added up over the rounds of RETURNS[name], + 0.2 accepted of the last round - penalty (rounds - 1).

    `verdicts`: on all tests, one per round, at least one. None when the judge failed on a round that counts.
    """
    counted = verdicts[RETURNS[name]]
    if any(verdict.error_type == "api_error" for verdict in counted):
        return None
    total = sum(verdict.pass_ratio for verdict in counted)
    return total + ACCEPTED_BONUS * verdicts[-1].accepted - round_penalty * (len(verdicts) - 1)


def make_return(name: str, round_penalty: float) -> ReturnFunction:
    """Gives the return `name` its penalty for each round after the first. Raises ValueError for an unknown name."""
    if name not in RETURNS:
        raise ValueError(f"unknown return {name!r}; choose one of {', '.join(RETURNS)}")
    return partial(dialogue_return, name=name, round_penalty=round_penalty)


def _from_verdict(verdict: Verdict, value: float) -> Reward:
    if verdict.error_type == "api_error":
        return Reward(None, {})
    ran = verdict.error_type in ("success", "wrong_answer")
    parts = {"pass_ratio": verdict.pass_ratio, "accepted": verdict.accepted, "ran_to_the_end": ran}
    return Reward(float(value), {name: float(part) for name, part in parts.items()})
