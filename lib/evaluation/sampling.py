"""Judged samples of a policy, from which pairs are built and rewards are computed."""

from lib.judge import Verdict
from lib.judge.answers import extract
from lib.metrics import require_judge
from lib.policy.generation import generate
from lib.policy.prompts import messages
from lib.policy.protocols import Protocol
from lib.problems import Problem
from lib.rewards import Sample


def judged_sample(
    problem: Problem, text: str, tokens: int, verdict: Verdict, max_tokens: int, truncated: bool, block: str
) -> Sample:
    """Makes the Sample of one completion and its verdict; `block`: the judge's `answer_block`."""
    extraction = extract(text, block)
    return Sample(
        text, tokens, truncated, extraction.program, verdict, problem, extraction.format_ok, max_tokens=max_tokens
    )


def sample_and_judge(
    model,
    tokenizer,
    problems: list[Problem],
    judge,
    decoding: Protocol,
    *,
    instruction: str = "",
    seed: int = 0,
    limit: float = 0.01,
) -> list[list[Sample]]:
    """Samples and judges `decoding.samples` completions per problem. Raises JudgeFailure if the judge fails on a larger
    share than `limit`."""
    chats = [messages(problem, instruction) for problem in problems]
    limits = {"max_new_tokens": decoding.max_new_tokens, "temperature": decoding.temperature, "seed": seed}
    groups = generate(model, tokenizer, chats, samples=decoding.samples, **limits)
    flat = [(problem, answer) for problem, group in zip(problems, groups, strict=True) for answer in group]
    block = judge.answer_block
    programs = [(extract(answer.text, block).program, problem) for problem, answer in flat]
    verdicts = judge.judge_many(programs, progress=False)
    require_judge(verdicts, limit)
    samples = [
        judged_sample(problem, answer.text, answer.tokens, verdict, decoding.max_new_tokens, answer.truncated, block)
        for (problem, answer), verdict in zip(flat, verdicts, strict=True)
    ]
    return [samples[start : start + decoding.samples] for start in range(0, len(samples), decoding.samples)]
