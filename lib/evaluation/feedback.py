"""Feedback: the text that a policy reads after a failed program, made from public tests only."""

from collections.abc import Callable

from transformers import PreTrainedTokenizerBase as Tokenizer

from lib.judge.verdict import Verdict
from lib.problems import Problem

CONSTANT = "wrong, try again"
FIELD = 120  # characters of an input or an output that are shown; the middle of a longer one is omitted
FeedbackFunction = Callable[[Problem, Verdict], str]


def public_feedback(problem: Problem, verdict: Verdict, cases: int = 1, traceback_lines: int = 2) -> str:
    """How a program ended on the public tests, how many passed, `cases` failed ones and the end of the traceback.

    `problem`: of `lib.problems.public.only_public`; `verdict`: of its tests. Raises ValueError for a problem with a
    test that is not public.
    """
    if any(test.visibility != "public" for test in problem.tests):
        raise ValueError(f"{problem.id} has tests that are not public: pass only_public(problem)")
    parts = [f"{verdict.error_type}: {verdict.passed} of {verdict.total} public tests passed"]
    # A test of a function problem may hold several cases; a result belongs to a test only if each holds one.
    tests = problem.tests if verdict.total == len(problem.tests) else ()
    failed = [
        (result, test) for result, test in zip(verdict.tests, tests, strict=False) if result.error_type != "success"
    ]
    for result, test in failed[:cases]:
        parts.append(f"input: {_shorten(test.input)}")
        if problem.kind == "stdio":
            parts.append(f"expected: {_shorten(test.output)}")
        if result.got.strip():
            parts.append(f"got: {_shorten(result.got)}")
    details = [result.detail for result in verdict.tests if result.error_type not in ("success", "wrong_answer")]
    if details and traceback_lines:
        lines = verdict.feedback.rstrip().splitlines()
        is_traceback = bool(lines) and lines[-1].strip() == details[0].strip()
        parts += [line.strip() for line in lines[-traceback_lines:]] if is_traceback else [details[0]]
    return "\n".join(parts)


def constant_feedback(problem: Problem, verdict: Verdict) -> str:
    """The control: says only that the program is incorrect."""
    return CONSTANT


FEEDBACK: dict[str, FeedbackFunction] = {"public": public_feedback, "constant": constant_feedback}


def truncated(feedback: FeedbackFunction, tokenizer: Tokenizer, limit: int) -> FeedbackFunction:
    """The feedback function `feedback` with its text cut off after `limit` tokens."""

    def cut(problem: Problem, verdict: Verdict) -> str:
        text = feedback(problem, verdict)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return text if len(ids) <= limit else tokenizer.batch_decode([ids[:limit]], skip_special_tokens=True)[0]

    return cut


def _shorten(text: str) -> str:
    text = text.strip()
    return text if len(text) <= FIELD else f"{text[: FIELD // 2]} ... {text[-FIELD // 2 :]}"
