"""Protocols: how completions are drawn for a measurement, as frozen, named objects that every result records.

EVAL@1       one greedy program per problem; the headline of every phase
EVAL@k       k sampled programs per problem; the unbiased pass@k of Chen et al. 2021 (arXiv 2107.03374)
EVAL@budget  sampled programs up to a fixed number of generated tokens per problem, so that long answers cost something
ROLLOUT      how RL samples its programs; recorded separately, never a measurement
"""

import re
from dataclasses import asdict, dataclass, replace

SAMPLING_TEMPERATURE = 0.8  # of EVAL@k and EVAL@budget
BUDGET_SAMPLES = 16  # drawn at most under EVAL@budget


@dataclass(frozen=True)
class Protocol:
    """A way to draw completions. Raises ValueError for settings that contradict each other.

    `ks`: each k for which pass@k is estimated. `token_budget`: generated tokens per problem over all its samples.
    `instruction`: the text that follows every statement in the prompt. `seed`: of sampled tokens.
    """

    name: str
    max_new_tokens: int
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    ks: tuple[int, ...] = ()
    token_budget: int | None = None
    instruction: str = ""
    seed: int = 0

    def __post_init__(self):
        if self.max_new_tokens < 1 or self.samples < 1:
            raise ValueError(f"{self.name} needs at least one sample of at least one token")
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(f"{self.samples} greedy samples would all be the same: give a temperature above 0")
        if self.top_p != 1.0:
            raise ValueError("all engines sample from the whole distribution: top_p must be 1")
        if max(self.ks, default=1) > self.samples:
            raise ValueError(f"pass@{max(self.ks)} can't be estimated from {self.samples} samples")
        if self.token_budget is not None and self.token_budget < self.max_new_tokens:
            raise ValueError(f"a budget of {self.token_budget} tokens is less than one answer may take")

    def decoding(self) -> dict:
        """The decoding settings in JSON's types; the seed only where tokens are sampled."""
        settings = asdict(self) | {"ks": list(self.ks)}
        left_out = ("name", "instruction") if self.temperature else ("name", "instruction", "seed")
        return {key: value for key, value in settings.items() if key not in left_out}


def eval_at_1(max_new_tokens: int, instruction: str = "", seed: int = 0) -> Protocol:
    """EVAL@1: one greedy program per problem."""
    return Protocol("EVAL@1", max_new_tokens, instruction=instruction, seed=seed)


def rollout(max_new_tokens: int, samples: int, temperature: float = 1.0) -> Protocol:
    """ROLLOUT: how a training draws its programs."""
    return Protocol("ROLLOUT", max_new_tokens, samples, temperature)


def protocol_named(name: str, max_new_tokens: int, instruction: str = "", seed: int = 0) -> Protocol:
    """The protocol that a notebook's parameter names: EVAL@1, EVAL@<k>, or EVAL@budget=<tokens per problem>.

    EVAL@<k> estimates pass@k and those of pass@1, pass@5 and pass@10 below it. Raises ValueError for any other name.
    """
    drawn = replace(eval_at_1(max_new_tokens, instruction, seed), name=name)
    if name == "EVAL@1":
        return drawn
    if match := re.fullmatch(r"EVAL@([1-9]\d*)", name):
        k = int(match[1])
        ks = (*(smaller for smaller in (1, 5, 10) if smaller < k), k)
        return replace(drawn, name="EVAL@k", samples=k, temperature=SAMPLING_TEMPERATURE, ks=ks)
    if match := re.fullmatch(r"EVAL@budget=(\d+)", name):
        sampled = replace(drawn, name="EVAL@budget", samples=BUDGET_SAMPLES, temperature=SAMPLING_TEMPERATURE)
        return replace(sampled, token_budget=int(match[1]))
    raise ValueError(f"unknown protocol {name!r}; choose EVAL@1, EVAL@<k> (such as EVAL@10) or EVAL@budget=<tokens>")
