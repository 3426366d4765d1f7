"""Multi-round repair: a program is written, run on the public tests, and written again with what was seen.

A round is an answer. It is judged on the **public** tests, and what the policy is told next comes from these alone:
`public_feedback` refuses a problem that holds any other test. Only what failed goes on (repair on demand), and a dialogue ends

| ending           | when                                                                           |
|---|---|
| passed           | all public tests pass; whether the hidden ones do, nobody in the dialogue knows |
| rounds           | the last round that was allowed has failed                                     |
| repeated         | the policy wrote a program again that it had been told is wrong: nothing to gain |
| no public tests  | there is nothing to tell                                                       |
| no room          | the next prompt and its answer would not fit into the model's context          |
| judge failed     | the judge said nothing about the program                                       |

The whole history stays in the prompt: each is the one before, the answer exactly as it was sampled, and the feedback
as a user's message. So a dialogue is one sequence of tokens, which `lib.training.repair` trains on. The verdicts on all
tests are for the account: they are reached after the last round, and no round depends on them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lib.evaluation.best_of_n import Sample, only_public
from lib.judge.verdict import Verdict
from lib.metrics import require_judge
from lib.policy.generation import Completion, generate
from lib.policy.prompts import extract, messages
from lib.problems import Problem
from lib.runs.paths import json_lines, write_atomically

ENDINGS = ("passed", "rounds", "repeated", "no public tests", "no room", "judge failed")
CONSTANT = "wrong, try again"
FIELD = 120  # characters of an input or an output that are shown; the middle of a longer one is left out
FeedbackFunction = Callable[[Problem, Verdict], str]


@dataclass
class Turn:
    """One round. `prompt_ids`: all that the policy read; `public_verdict`: the verdict on the public tests, None where there
    are none; `verdict`: on all tests; `feedback`: what the next round was told, None in the last."""

    prompt: list[dict[str, str]]
    prompt_ids: list[int]
    completion: Completion
    program: str
    public_verdict: Verdict | None = None
    verdict: Verdict | None = None
    feedback: str | None = None


@dataclass
class Dialogue:
    """The rounds for one problem, at least one, and why there was no further one: one of ENDINGS."""

    problem: Problem
    turns: list[Turn]
    ending: str = ""

    @property
    def last(self) -> Turn:
        return self.turns[-1]

    def upto(self, rounds: int) -> "Dialogue":
        """The same dialogue, had no more than so many rounds been allowed."""
        cut = len(self.turns) > rounds
        return Dialogue(self.problem, self.turns[:rounds], "rounds" if cut else self.ending)

    def sequence(self) -> tuple[list[int], list[int], list[int]]:
        """The dialogue as tokens: the first prompt, all that follows, and of the latter a mask: 1 what the policy
        wrote, 0 what it was told."""
        ids, mask, start = [], [], len(self.turns[0].prompt_ids)
        for turn in self.turns:
            told = turn.prompt_ids[start + len(ids) :]
            ids += [*told, *turn.completion.ids]
            mask += [0] * len(told) + [1] * turn.completion.tokens
        return self.turns[0].prompt_ids, ids, mask


def public_feedback(shown: Problem, verdict: Verdict, cases: int = 1, traceback_lines: int = 2) -> str:
    """What a policy is told of a program that failed public tests: how it ended, how many of them passed, at most
    `cases` failed ones (input, expected, got; shortened), and the last lines of the traceback.

    `shown`: the problem as `lib.evaluation.best_of_n.only_public` leaves it, `verdict`: of its tests. Raises ValueError for a problem
    that holds a test which is not public.
    """
    if any(test.visibility != "public" for test in shown.tests):
        raise ValueError(
            f"{shown.id} holds tests that are not public: feedback is made of lib.evaluation.best_of_n.only_public(problem)"
        )
    parts = [f"{verdict.error_type}: {verdict.passed} of {verdict.total} public tests passed"]
    # Of a function problem a test may hold several cases; which is whose is known only when each holds one.
    tests = shown.tests if verdict.total == len(shown.tests) else ()
    failed = [pair for pair in zip(verdict.tests, tests, strict=False) if pair[0].error_type != "success"]
    for result, test in failed[:cases]:
        asked = f"input: {_short(test.input)}"
        parts.append(f"{asked}\nexpected: {_short(test.output)}" if shown.kind == "stdio" else asked)
        if result.got.strip():
            parts.append(f"got: {_short(result.got)}")
    details = [result.detail for result in verdict.tests if result.error_type not in ("success", "wrong_answer")]
    if details and traceback_lines:
        said = verdict.feedback.rstrip().splitlines()
        traced = bool(said) and said[-1].strip() == details[0].strip()
        parts += [line.strip() for line in said[-traceback_lines:]] if traced else [details[0]]
    return "\n".join(parts)


def constant_feedback(shown: Problem, verdict: Verdict) -> str:
    """The control: no information beyond that the program is wrong."""
    return CONSTANT


FEEDBACK: dict[str, FeedbackFunction] = {"public": public_feedback, "constant": constant_feedback}


def truncated(give_feedback: FeedbackFunction, tokenizer: PreTrainedTokenizerBase, limit: int) -> FeedbackFunction:
    """`give_feedback`, cut off after `limit` tokens."""

    def cut(shown: Problem, verdict: Verdict) -> str:
        text = give_feedback(shown, verdict)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return text if len(ids) <= limit else tokenizer.decode(ids[:limit], skip_special_tokens=True)

    return cut


def run_dialogues(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[Problem],
    judge,
    give_feedback: FeedbackFunction,
    *,
    rounds: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    retry_temperature: float | None = None,
    instruction: str = "",
    seed: int = 0,
) -> list[Dialogue]:
    """A dialogue of at most `rounds` rounds for each problem; `give_feedback` makes the feedback, of public tests only.

    `temperature` of the first round, and of all where no `retry_temperature` is given for those that follow it.
    `max_new_tokens` of an answer. `judge` offers `judge_many`. What the judge failed on has a verdict of `api_error`.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    dialogues = [Dialogue(problem, []) for problem in problems]
    prompts = [messages(problem, instruction) for problem in problems]
    ids = [tokenizer.apply_chat_template(one, add_generation_prompt=True, return_dict=False) for one in prompts]
    open_rows = list(range(len(problems)))
    later = temperature if retry_temperature is None else retry_temperature
    for number in range(1, rounds + 1):
        written = generate(
            model,
            tokenizer,
            [ids[row] for row in open_rows],
            max_new_tokens=max_new_tokens,
            temperature=temperature if number == 1 else later,
            seed=seed * 31 + number,
        )
        for row, [completion] in zip(open_rows, written, strict=True):
            turn = Turn(prompts[row], ids[row], completion, extract(completion.text).program)
            dialogues[row].turns.append(turn)
        _judge_public(judge, [dialogues[row] for row in open_rows])
        going_on = []
        for row in open_rows:
            dialogue, turn = dialogues[row], dialogues[row].last
            dialogue.ending = _ending(dialogue, number == rounds)
            if dialogue.ending:
                continue
            told = give_feedback(only_public(dialogue.problem), turn.public_verdict)
            prompts[row], ids[row] = continued(tokenizer, turn, told)
            if context and len(ids[row]) + max_new_tokens > context:
                dialogue.ending = "no room"
                continue
            turn.feedback = told
            going_on.append(row)
        open_rows = going_on
        if not open_rows:
            break
    _account(judge, dialogues)
    return dialogues


def continued(tokenizer: PreTrainedTokenizerBase, turn: Turn, told: str) -> tuple[list[dict[str, str]], list[int]]:
    """The next prompt after `turn`, as messages and as tokens: what was read, what was written, then `told`.

    Raises ValueError for a chat template that changes earlier messages when later ones follow.
    """
    answered = [*turn.prompt, {"role": "assistant", "content": turn.completion.text}]
    asked = [*answered, {"role": "user", "content": told}]
    before = tokenizer.apply_chat_template(turn.prompt, add_generation_prompt=True, tokenize=False)
    before += turn.completion.text
    whole = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    if not whole.startswith(before):
        raise ValueError("the chat template rewrites earlier messages: a dialogue is then no single sequence of tokens")
    rest = whole[len(before) :]
    if turn.completion.ids and turn.completion.ids[-1] == tokenizer.eos_token_id:
        rest = rest.removeprefix(tokenizer.eos_token)
    return asked, [*turn.prompt_ids, *turn.completion.ids, *tokenizer(rest, add_special_tokens=False)["input_ids"]]


def resample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dialogues: list[Dialogue],
    judge,
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    seed: int = 0,
) -> list[list[tuple[Sample, bool, bool]]]:
    """The control, as `lib.evaluation.repair_metrics.resampled` reads it: `samples` answers to the first prompt of each dialogue
    whose first program failed public tests, none for the others."""
    failed = [one for one in dialogues if one.turns[0].public_verdict and not one.turns[0].public_verdict.accepted]
    prompts = [one.turns[0].prompt_ids for one in failed]
    limits = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    written = generate(model, tokenizer, prompts, samples=samples, **limits)
    asked = [
        (extract(completion.text).program, one.problem)
        for one, own in zip(failed, written, strict=True)
        for completion in own
    ]
    shown = judge.judge_many([(program, only_public(problem)) for program, problem in asked], progress=False)
    verdicts = judge.judge_many(asked, progress=False)
    require_judge([*shown, *verdicts], 0.0)  # every sample counts, so none may be missing
    flat = [completion for own in written for completion in own]
    drawn = [
        (Sample(completion.tokens, look.passed, public_s=look.judge_time), look.accepted, verdict.accepted)
        for completion, look, verdict in zip(flat, shown, verdicts, strict=True)
    ]
    by_problem = {one.problem.id: drawn[k * samples : (k + 1) * samples] for k, one in enumerate(failed)}
    return [by_problem.get(one.problem.id, []) for one in dialogues]


def lines(dialogues: list[Dialogue], dataset: str) -> list[dict]:
    """What `repair.jsonl` holds: one object per round; of tests that are not public only how they ended."""
    found = []
    for dialogue in dialogues:
        kinds = [test.visibility for test in dialogue.problem.tests]
        for number, turn in enumerate(dialogue.turns, 1):
            results = turn.verdict.tests
            known = kinds if turn.verdict.total == len(kinds) else ["unknown"] * len(results)
            tests = [
                {
                    "error_type": one.error_type,
                    "visibility": kind,
                    # What follows an exception's name may quote the test's input.
                    "detail": one.detail if kind == "public" else one.detail.partition(":")[0],
                }
                for one, kind in zip(results, known, strict=False)
            ]
            found.append(
                {
                    "problem_id": dialogue.problem.id,
                    "dataset": dataset,
                    "round": number,
                    "prompt": turn.prompt,
                    "text": turn.completion.text,
                    "program": turn.program,
                    "tokens": turn.completion.tokens,
                    "prompt_tokens": len(turn.prompt_ids),
                    "error_type": turn.verdict.error_type,
                    "pass_ratio": round(turn.verdict.pass_ratio, 4),
                    "accepted": turn.verdict.accepted,
                    "tests": tests,
                    "feedback": turn.feedback,
                    "ending": dialogue.ending if turn is dialogue.last else None,
                }
            )
    return found


def write(path: Path, dialogues: list[Dialogue], dataset: str) -> None:
    """Writes `lines` to `path`, one JSON object each."""
    write_atomically(path, json_lines(lines(dialogues, dataset)))


def _judge_public(judge, dialogues: list[Dialogue]) -> None:
    """Judges the last program of each on the public tests, and on nothing else."""
    views = [(dialogue.last, only_public(dialogue.problem)) for dialogue in dialogues]
    views = [(turn, problem) for turn, problem in views if problem]
    verdicts = judge.judge_many([(turn.program, problem) for turn, problem in views], progress=False)
    for (turn, _), verdict in zip(views, verdicts, strict=True):
        turn.public_verdict = verdict


def _ending(dialogue: Dialogue, is_last: bool) -> str:
    turn = dialogue.last
    if turn.public_verdict is None:
        return "no public tests"
    if turn.public_verdict.error_type == "api_error":
        return "judge failed"
    if turn.public_verdict.accepted:
        return "passed"
    if any(turn.program == earlier.program for earlier in dialogue.turns[:-1]):
        return "repeated"
    return "rounds" if is_last else ""


def _account(judge, dialogues: list[Dialogue]) -> None:
    turns = [(turn, dialogue.problem) for dialogue in dialogues for turn in dialogue.turns]
    verdicts = judge.judge_many([(turn.program, problem) for turn, problem in turns], progress=False)
    for (turn, _), verdict in zip(turns, verdicts, strict=True):
        turn.verdict = verdict


def _short(text: str) -> str:
    text = text.strip()
    if len(text) <= FIELD:
        return text
    return f"{text[: FIELD // 2]} ... {text[-FIELD // 2 :]}"
