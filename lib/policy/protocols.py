"""Protocols: how completions are drawn for a measurement, as frozen, named objects that every result carries.

EVAL@1       one greedy program per problem; the headline of every phase
EVAL@k       several sampled programs per problem; the unbiased pass@k of Chen et al. 2021
EVAL@budget  sampled programs up to a fixed number of generated tokens per problem: long answers are not free
ROLLOUT      how RL draws its programs; recorded apart, never a measurement
"""

import re
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Protocol:
    """`ks`: the k of pass@k; `token_budget`: tokens per problem, all its samples. Raises ValueError for nonsense."""

    name: str
    max_new_tokens: int
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    ks: tuple[int, ...] = ()
    token_budget: int | None = None

    def __post_init__(self):
        if self.max_new_tokens < 1 or self.samples < 1:
            raise ValueError(f"{self.name} wants at least one sample of at least one token")
        if self.temperature == 0 and self.samples > 1:
            raise ValueError(f"{self.samples} greedy samples would all be the same: give a temperature above 0")
        if self.top_p != 1.0:
            raise ValueError("all engines draw from the whole distribution: top_p is 1")
        if max(self.ks, default=1) > self.samples:
            raise ValueError(f"pass@{max(self.ks)} can't be estimated from {self.samples} samples")
        if self.token_budget is not None and self.token_budget < self.max_new_tokens:
            raise ValueError(f"a budget of {self.token_budget} tokens is less than one answer may take")

    def decoding(self) -> dict:
        """Everything but the name, in JSON's types."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items() if key != "name"}


def eval_at_1(max_new_tokens: int) -> Protocol:
    return Protocol("EVAL@1", max_new_tokens)


def eval_at_k(max_new_tokens: int, samples: int = 10, ks: tuple[int, ...] = (1, 5, 10), temperature: float = 0.8):
    return Protocol("EVAL@k", max_new_tokens, samples, temperature, ks=ks)


def eval_at_budget(max_new_tokens: int, token_budget: int, samples: int = 16, temperature: float = 0.8) -> Protocol:
    """At most `samples` are drawn; `budget_exhausted_rate` says on how many problems they spent all of it."""
    return Protocol("EVAL@budget", max_new_tokens, samples, temperature, token_budget=token_budget)


def protocol_named(name: str, max_new_tokens: int) -> Protocol:
    """The protocol that a notebook's parameter asks for: EVAL@1, EVAL@<k>, or EVAL@budget=<tokens per problem>.

    EVAL@<k> draws k samples and tells pass@1, pass@5 and pass@10 up to pass@k. Raises ValueError for any other name.
    """
    if name == "EVAL@1":
        return eval_at_1(max_new_tokens)
    if match := re.fullmatch(r"EVAL@([1-9]\d*)", name):
        k = int(match[1])
        return eval_at_k(max_new_tokens, k, tuple(sorted({one for one in (1, 5, 10) if one < k} | {k})))
    if match := re.fullmatch(r"EVAL@budget=(\d+)", name):
        return eval_at_budget(max_new_tokens, int(match[1]))
    raise ValueError(f"no protocol is called {name!r}; there are EVAL@1, EVAL@<k> (EVAL@10), EVAL@budget=<tokens>")


def rollout(max_new_tokens: int, samples: int, temperature: float = 1.0) -> Protocol:
    return Protocol("ROLLOUT", max_new_tokens, samples, temperature)
