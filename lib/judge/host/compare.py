"""Compares an output with the expected one, by the checker that the problem names.

- `tokens` (default): spaces and line breaks do not count, the number of tokens does. Tokens must be equal as text, with
  one exception: if the expected token is a decimal ("0.5", "1e-6"), a number within a relative or absolute tolerance of
  1e-6 is right. Integers are exact, of any size: 10^17 is not 10^17 + 1.
- `exact`: byte for byte, except for line breaks after the last line.
"""

import math
import re

TOLERANCE = 1e-6
_DECIMAL = re.compile(rb"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def same_tokens(output: bytes, expected: bytes) -> bool:
    if output == expected:
        return True
    tokens, expected_tokens = output.split(), expected.split()
    if tokens == expected_tokens:
        return True
    return len(tokens) == len(expected_tokens) and all(map(_same_token, tokens, expected_tokens))


CHECKERS = {
    "tokens": same_tokens,
    "exact": lambda output, expected: output.rstrip(b"\r\n") == expected.rstrip(b"\r\n"),
}


def _same_token(token: bytes, expected: bytes) -> bool:
    if token == expected:
        return True
    if max(len(token), len(expected)) > 400 or not _DECIMAL.fullmatch(expected) or not _NUMBER.fullmatch(token):
        return False
    number, expected_number = float(token), float(expected)
    return (
        math.isfinite(number)
        and math.isfinite(expected_number)
        and abs(number - expected_number) <= TOLERANCE * max(1.0, abs(expected_number))
    )
