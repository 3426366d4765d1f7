"""Does an output answer a test? Tokens are compared; lines and spaces do not count, numbers of tokens do.

A token must be the same text, with one exception: where the expected token is a decimal ("0.5", "1e-6"), a number
within a relative or absolute tolerance of 1e-6 will do. Integers are exact, of any size: 10^17 is not 10^17 + 1.
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


def _same_token(got: bytes, expected: bytes) -> bool:
    if got == expected:
        return True
    if len(got) > 400 or not _DECIMAL.fullmatch(expected) or not _NUMBER.fullmatch(got):
        return False
    got_number, expected_number = float(got), float(expected)
    return (
        math.isfinite(got_number)
        and math.isfinite(expected_number)
        and abs(got_number - expected_number) <= TOLERANCE * max(1.0, abs(expected_number))
    )
