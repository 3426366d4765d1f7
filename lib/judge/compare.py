"""Does an output answer a test? A problem names its checker; `tokens` is the rule.

- `tokens`: lines and spaces do not count, the number of tokens does. A token must be the same text, with one exception:
  where the expected one is a decimal ("0.5", "1e-6"), a number within a relative or absolute tolerance of 1e-6 will do.
  Integers are exact, of any size: 10^17 is not 10^17 + 1.
- `exact`: the same text to the byte, but for line ends after the last line.
- `float`: as tokens, with the tolerance for expected integers too.
- `case_insensitive`: as tokens, with ASCII letters of either case.
- `unordered_lines`: the same lines in any order, each as often, compared as tokens are, without the tolerance.
"""

import math
import re

TOLERANCE = 1e-6
_DECIMAL = re.compile(rb"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def same_tokens(got: bytes, expected: bytes) -> bool:
    """Whether `got` says the same as `expected`."""
    if got == expected:
        return True
    got_tokens, expected_tokens = got.split(), expected.split()
    if got_tokens == expected_tokens:
        return True
    return len(got_tokens) == len(expected_tokens) and all(map(_same_token, got_tokens, expected_tokens))


def _same_numbers(got: bytes, expected: bytes) -> bool:
    got_tokens, expected_tokens = got.split(), expected.split()
    if len(got_tokens) != len(expected_tokens):
        return False
    return all(_same_token(g, e, _NUMBER) for g, e in zip(got_tokens, expected_tokens, strict=True))


def _lines(text: bytes) -> list[list[bytes]]:
    return sorted(tokens for line in text.splitlines() if (tokens := line.split()))


CHECKERS = {
    "tokens": same_tokens,
    "exact": lambda got, expected: got.rstrip(b"\r\n") == expected.rstrip(b"\r\n"),
    "float": _same_numbers,
    "case_insensitive": lambda got, expected: same_tokens(got.lower(), expected.lower()),
    "unordered_lines": lambda got, expected: _lines(got) == _lines(expected),
}


def _same_token(got: bytes, expected: bytes, tolerant: re.Pattern = _DECIMAL) -> bool:
    if got == expected:
        return True
    if max(len(got), len(expected)) > 400 or not tolerant.fullmatch(expected) or not _NUMBER.fullmatch(got):
        return False
    got_number, expected_number = float(got), float(expected)
    return (
        math.isfinite(got_number)
        and math.isfinite(expected_number)
        and abs(got_number - expected_number) <= TOLERANCE * max(1.0, abs(expected_number))
    )
