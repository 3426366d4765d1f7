"""A list of problems that counts what was left out of it."""

from collections import Counter
from collections.abc import Iterable

from lib.judge.problem import Problem


class Problems(list[Problem]):
    """A list of problems. `dropped`: how many rows of the set are not in it, by reason."""

    def __init__(self, problems: Iterable[Problem] = (), dropped: Counter[str] | None = None):
        super().__init__(problems)
        self.dropped = Counter() if dropped is None else dropped
