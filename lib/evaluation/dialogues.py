"""Multi-round repair: a program is generated, run on the public tests, and generated again with feedback.

A round is one answer. It is judged on the **public** tests, and the feedback is made of these alone
(`lib.evaluation.feedback` refuses a problem with any other test). Only a program that failed them gets another round
(repair on demand). A dialogue ends

| ending           | when                                                                           |
|---|---|
| passed           | all public tests pass, whatever the hidden tests say                           |
| rounds           | the last allowed round failed                                                  |
| repeated         | the policy repeated a program that had been rejected                           |
| no public tests  | there is nothing to make feedback of                                           |
| no room          | the next prompt and its answer would not fit into the model's context          |
| judge failed     | the judge reached no verdict on the program                                    |

A prompt contains the whole history: the previous prompt, the answer exactly as it was sampled, and the feedback as a
user message. A dialogue is therefore one sequence of tokens, which `lib.training.repair` trains on. The verdicts on all
tests are computed after the last round, and no round depends on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedModel as Model
from transformers import PreTrainedTokenizerBase as Tokenizer

from lib.evaluation.best_of_n import Sample, only_public
from lib.evaluation.feedback import FeedbackFunction
from lib.judge.verdict import Verdict
from lib.metrics import require_judge
from lib.policy.generation import Completion, generate
from lib.policy.prompts import extract, messages, prompt_ids, prompt_text
from lib.policy.protocols import Protocol
from lib.problems import Problem
from lib.runs.paths import json_lines, write_atomically

ENDINGS = ("passed", "rounds", "repeated", "no public tests", "no room", "judge failed")


@dataclass
class Turn:
    """One round. `prompt` and `prompt_ids`: all that the policy read, as messages and as tokens. `public_verdict`: on
    the public tests, None without any. `feedback`: for the next round, None in the last. `verdict`: on all tests."""

    prompt: list[dict[str, str]]
    prompt_ids: list[int]
    completion: Completion
    program: str
    public_verdict: Verdict | None = None
    feedback: str | None = None
    verdict: Verdict = field(init=False)


@dataclass
class Dialogue:
    """The rounds for one problem, at least one, and why it ended: one of ENDINGS."""

    problem: Problem
    turns: list[Turn]
    ending: str = ""

    @property
    def last(self) -> Turn:
        return self.turns[-1]

    def upto(self, rounds: int) -> "Dialogue":
        """The same dialogue with at most `rounds` rounds allowed."""
        cut = len(self.turns) > rounds
        return Dialogue(self.problem, self.turns[:rounds], "rounds" if cut else self.ending)

    def sequence(self) -> tuple[list[int], list[int], list[int]]:
        """The tokens of the first prompt, those of all that follows, and for these a mask: 1 generated, 0 feedback."""
        start = len(self.turns[0].prompt_ids)
        ids, mask = [], []
        for turn in self.turns:
            feedback = turn.prompt_ids[start + len(ids) :]
            ids += [*feedback, *turn.completion.ids]
            mask += [0] * len(feedback) + [1] * turn.completion.tokens
        return self.turns[0].prompt_ids, ids, mask


def run_dialogues(
    model: Model,
    tokenizer: Tokenizer,
    problems: Sequence[Problem],
    judge,
    feedback: FeedbackFunction,
    *,
    rounds: int,
    max_new_tokens: int,
    retry_temperature: float | None = None,
    **settings,
) -> list[Dialogue]:
    """Runs a dialogue of at most `rounds` rounds for each problem.

    `settings`: `temperature`, `instruction` and `seed` where they differ from 0, "" and 0. `retry_temperature`: of all
    rounds but the first; None: `temperature`. `judge` has `judge_many`; its failures are verdicts of `api_error`.
    """
    protocol = Protocol("dialogue", max_new_tokens, **settings)
    sampling = {"max_new_tokens": max_new_tokens, "temperature": protocol.temperature}
    context = getattr(model.config, "max_position_embeddings", None)
    dialogues = [Dialogue(problem, []) for problem in problems]
    prompts = [messages(problem, protocol.instruction) for problem in problems]
    ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    rows = list(range(len(problems)))
    for number in range(1, rounds + 1):
        seed = protocol.seed * 31 + number
        completions = generate(model, tokenizer, [ids[row] for row in rows], seed=seed, **sampling)
        for row, [completion] in zip(rows, completions, strict=True):
            turn = Turn(prompts[row], ids[row], completion, extract(completion.text).program)
            dialogues[row].turns.append(turn)
        _judge_last_turns(judge, [dialogues[row] for row in rows])
        continuing = []
        for row in rows:
            dialogue, turn, public = dialogues[row], dialogues[row].last, only_public(dialogues[row].problem)
            dialogue.ending = _ending(dialogue, number == rounds)
            if dialogue.ending or not public or not turn.public_verdict:
                continue
            text = feedback(public, turn.public_verdict)
            prompts[row], ids[row] = continued(tokenizer, turn, text)
            if context and len(ids[row]) + max_new_tokens > context:
                dialogue.ending = "no room"
                continue
            turn.feedback = text
            continuing.append(row)
        rows = continuing
        if not rows:
            break
        if retry_temperature is not None:
            sampling["temperature"] = retry_temperature
    turns = [(turn, dialogue.problem) for dialogue in dialogues for turn in dialogue.turns]
    verdicts = judge.judge_many([(turn.program, problem) for turn, problem in turns], progress=False)
    for (turn, _), verdict in zip(turns, verdicts, strict=True):
        turn.verdict = verdict
    return dialogues


def continued(tokenizer: Tokenizer, turn: Turn, feedback: str) -> tuple[list[dict[str, str]], list[int]]:
    """The prompt that follows `turn`, as messages and as tokens: what was read, what was generated, then `feedback`.

    Raises ValueError for a chat template that changes earlier messages when later ones follow.
    """
    conversation = [*turn.prompt, {"role": "assistant", "content": turn.completion.text}]
    conversation.append({"role": "user", "content": feedback})
    before = prompt_text(tokenizer, turn.prompt) + turn.completion.text
    whole = prompt_text(tokenizer, conversation)
    if not whole.startswith(before):
        raise ValueError("the chat template rewrites earlier messages: the dialogue is no single sequence of tokens")
    rest = whole[len(before) :]
    if turn.completion.ids and turn.completion.ids[-1] == tokenizer.eos_token_id:
        rest = rest.removeprefix(tokenizer.eos_token)
    ids = tokenizer(rest, add_special_tokens=False)["input_ids"]
    return conversation, [*turn.prompt_ids, *turn.completion.ids, *ids]


def resample(
    model: Model, tokenizer: Tokenizer, dialogues: list[Dialogue], judge, *, samples: int, **settings
) -> list[list[tuple[Sample, bool, bool]]]:
    """The control: `samples` answers to the first prompt of each dialogue whose first program failed public tests.

    Returns for each dialogue (sample, all public tests passed, accepted by all tests), as
    `lib.evaluation.repair_metrics.resampled` takes them. `settings`: of `lib.policy.generation.generate`.
    """
    failed = [one for one in dialogues if one.turns[0].public_verdict and not one.turns[0].public_verdict.accepted]
    prompts = [dialogue.turns[0].prompt_ids for dialogue in failed]
    completions = generate(model, tokenizer, prompts, samples=samples, **settings)
    asked = [
        (extract(completion.text).program, dialogue.problem)
        for dialogue, of_problem in zip(failed, completions, strict=True)
        for completion in of_problem
    ]
    public = judge.judge_many([(program, only_public(problem)) for program, problem in asked], progress=False)
    verdicts = judge.judge_many(asked, progress=False)
    require_judge([*public, *verdicts], 0.0)  # the exact means need every sample
    flat = [completion for of_problem in completions for completion in of_problem]
    drawn = [
        (Sample(completion.tokens, shown.passed, public_s=shown.judge_time), shown.accepted, verdict.accepted)
        for completion, shown, verdict in zip(flat, public, verdicts, strict=True)
    ]
    by_problem = {one.problem.id: drawn[k * samples : (k + 1) * samples] for k, one in enumerate(failed)}
    return [by_problem.get(dialogue.problem.id, []) for dialogue in dialogues]


def lines(dialogues: list[Dialogue], dataset: str) -> list[dict]:
    """The rows of repair.jsonl, one per round; of tests that are not public only how they ended."""
    return [
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
            "tests": _test_lines(dialogue.problem, turn.verdict),
            "feedback": turn.feedback,
            "ending": dialogue.ending if turn is dialogue.last else None,
        }
        for dialogue in dialogues
        for number, turn in enumerate(dialogue.turns, 1)
    ]


def write(path: Path, dialogues: list[Dialogue], dataset: str) -> None:
    """Writes `lines` to `path`, one JSON object each."""
    write_atomically(path, json_lines(lines(dialogues, dataset)))


def _test_lines(problem: Problem, verdict: Verdict) -> list[dict]:
    kinds = [test.visibility for test in problem.tests]
    if verdict.total != len(kinds):  # a test of a function problem may hold several cases
        kinds = ["unknown"] * len(verdict.tests)
    return [
        {
            "error_type": result.error_type,
            "visibility": kind,
            # What follows an exception's name may quote the test's input.
            "detail": result.detail if kind == "public" else result.detail.partition(":")[0],
        }
        for result, kind in zip(verdict.tests, kinds, strict=False)
    ]


def _judge_last_turns(judge, dialogues: list[Dialogue]) -> None:
    """Judges the last program of each dialogue on the public tests, and on nothing else."""
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
