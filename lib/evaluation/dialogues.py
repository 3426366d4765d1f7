"""Multi-round repair: a program is generated, run on the public tests, and generated again with feedback.

A round is one answer. Only a program that failed public tests gets another round (repair on demand). A dialogue ends

| ending           | when                                                                           |
|---|---|
| passed           | all public tests pass, whatever the hidden tests say                           |
| rounds           | the last allowed round failed                                                  |
| repeated         | the policy repeated a program that had been rejected                           |
| no public tests  | there is nothing to make feedback of                                           |
| no room          | the next prompt and its answer would not fit into the model's context          |
| judge failed     | the judge reached no verdict on the program                                    |

A prompt contains the whole history: the previous prompt, the answer exactly as it was sampled, and the feedback as a
user message, so that a dialogue is one sequence of tokens (`lib.training.repair`). The verdicts on all tests are
computed after the last round, and no round depends on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from transformers import PreTrainedModel as Model
from transformers import PreTrainedTokenizerBase as Tokenizer

from lib.evaluation.best_of_n import Sample
from lib.evaluation.feedback import FeedbackFunction
from lib.judge.answers import extract
from lib.judge.verdict import Verdict
from lib.metrics import require_judge
from lib.policy.generation import Completion, generate
from lib.policy.prompts import messages, prompt_ids, prompt_text
from lib.policy.protocols import Protocol
from lib.problems import Problem
from lib.problems.public import only_public

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
    waiting = [
        (dialogue, prompt, prompt_ids(tokenizer, prompt)) for dialogue, prompt in zip(dialogues, prompts, strict=True)
    ]
    for number in range(1, rounds + 1):
        seed = protocol.seed * 31 + number
        completions = generate(model, tokenizer, [ids for *_, ids in waiting], seed=seed, **sampling)
        for (dialogue, prompt, ids), [completion] in zip(waiting, completions, strict=True):
            dialogue.turns.append(Turn(prompt, ids, completion, extract(completion.text, judge.answer_block).program))
        asked = [dialogue for dialogue, *_ in waiting]
        views = [(dialogue.last, view) for dialogue in asked if (view := only_public(dialogue.problem))]
        verdicts = judge.judge_many([(turn.program, view) for turn, view in views], progress=False)
        for (turn, _), verdict in zip(views, verdicts, strict=True):
            turn.public_verdict = verdict
        waiting = []
        for dialogue in asked:
            dialogue.ending = _ending(dialogue, is_last=number == rounds)
            if dialogue.ending:
                continue
            turn, view = dialogue.last, cast(Problem, only_public(dialogue.problem))
            text = feedback(view, cast(Verdict, turn.public_verdict))
            prompt, ids = continued(tokenizer, turn, text)
            if context and len(ids) + max_new_tokens > context:
                dialogue.ending = "no room"
            else:
                turn.feedback = text
                waiting.append((dialogue, prompt, ids))
        if not waiting:
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

    Returns for each dialogue (sample, all public tests passed, accepted by all tests). `settings`: of `generate`.
    """
    failed = [
        dialogue for dialogue in dialogues if (verdict := dialogue.turns[0].public_verdict) and not verdict.accepted
    ]
    prompts = [dialogue.turns[0].prompt_ids for dialogue in failed]
    completions = generate(model, tokenizer, prompts, samples=samples, **settings)
    asked = [
        (extract(completion.text, judge.answer_block).program, dialogue.problem)
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
    by_problem = {dialogue.problem.id: drawn[k * samples : (k + 1) * samples] for k, dialogue in enumerate(failed)}
    return [by_problem.get(dialogue.problem.id, []) for dialogue in dialogues]


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
