"""Compares an output with the expected one, by the checker that the problem names.

- `tokens`: spaces and line breaks do not count, the number of tokens does. Tokens must be equal as text, with one
  exception: if the expected token is a decimal ("0.5", "1e-6"), a number within a relative or absolute tolerance of
  1e-6 is right. Integers are exact, of any size: 10^17 is not 10^17 + 1.
- `auto` (default): as `tokens`, with what the statement and the expected outputs of the problem allow:
  1. answers in any case, if the statement allows it: yes, no, words of the statement, and words that are all outputs;
  2. the tolerance that the statement gives, such as 10^-4;
  3. real numbers, if the statement gives a tolerance or an expected output holds a decimal: where "20" is expected,
     "20.0" is right. A number without a decimal point is exact even there.
- `exact`: byte for byte, except for line breaks after the last line.
"""

import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from ..problem import Problem

TOLERANCE = 1e-6
STATED = (1e-15, 1e-2)  # tolerances that a statement may give; other small numbers mean something else
CHECKERS = ("auto", "tokens", "exact")
_DECIMAL = re.compile(rb"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SOME_DECIMAL = re.compile(rf"(?<!\S)(?:{_DECIMAL.pattern.decode()})(?!\S)", re.ASCII)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
_ABOUT_CASE = ("case", "regist", "capital")
_EXAMPLES = re.compile(r"^\W*(sample|example)", re.MULTILINE)
_CASE = r"(letters?['’]? |letter )?(upper|lower)?(case|register|capitali[sz]ation)"
_ANY_CASE = re.compile(
    rf"(?<!^in )\b(any|arbitrary|whatever) ((upper|lower|mixed)\W*)*{_CASE}\b|\bmixed case\b"
    r"|\bcase\W*insensitiv|\binsensitive to (the )?case|\bnot case\W*sensitiv"
    rf"|\b(ignor\w+|regardless of|irrespective of|independent of) (the )?{_CASE}\b"
    rf"|(?<!\bin )\b{_CASE}( (of|in) [^,;]{{1,40}}?)? ((is|are|will be|be) (ignored|irrelevant|unimportant)"
    r"|(do|does|is|are|will)( not|n['’]t) (matter|important|significant|relevant|be checked))"
    rf"|(not|n['’]t) matter (if|whether|in which|what)\b[^,;]*{_CASE}\b"
    r"|\b(print|output|write|display)[^,;]*\b(upper|lower|capital|small)\W*(case)?\W*(or|and)\W*(upper|lower|capital|small)"
)
_ABOUT_ERRORS = ("error", "precis", "accura", "toleranc", "difference", "differs", "differ by", "deviat", "jury")
_SMALL = re.compile(r"\b10\s*(?:\^|\*\*|<sup>)?\s*[{(]*\s*[-−–]\s*(\d+)|\b1e[-−–]0*(\d+)|\b0[.,](0*)1\b")
_DIGITS = re.compile(r"digits? after (the )?(decimal )?(point|dot|comma)|decimal (places|digits)")


@dataclass(frozen=True)
class Rule:
    """Tells whether an output is right. `words`: answers in lower case whose case does not count; `real`: whether a
    decimal may be right where a whole number is expected; `exact`: compare bytes instead of tokens."""

    exact: bool = False
    words: tuple[bytes, ...] = ()
    real: bool = False
    tolerance: float = TOLERANCE

    def __call__(self, output: bytes, expected: bytes) -> bool:
        if output == expected:
            return True
        if self.exact:
            return output.rstrip(b"\r\n") == expected.rstrip(b"\r\n")
        tokens, expected_tokens = output.split(), expected.split()
        if tokens == expected_tokens:
            return True
        return len(tokens) == len(expected_tokens) and all(map(self._same, tokens, expected_tokens))

    def _same(self, token: bytes, expected: bytes) -> bool:
        if token == expected:
            return True
        if max(len(token), len(expected)) > 400:
            return False
        if self.words and (folded := token.lower()) in self.words and folded == expected.lower():
            return True
        # One of the two must be a decimal: integers are exact.
        decimals = (expected, token) if self.real else (expected,)
        if not any(map(_DECIMAL.fullmatch, decimals)) or not (_NUMBER.fullmatch(token) and _NUMBER.fullmatch(expected)):
            return False
        number, expected_number = float(token), float(expected)
        return (
            math.isfinite(number)
            and math.isfinite(expected_number)
            and abs(number - expected_number) <= self.tolerance * max(1.0, abs(expected_number))
        )


same_tokens = Rule()


def comparison(problem: Problem) -> Rule:
    """The rule by which the outputs of a problem are compared."""
    if problem.checker != "auto" or problem.kind != "stdio":
        return Rule(exact=problem.checker == "exact")
    outputs = [test.output for test in problem.tests]
    text = unicodedata.normalize("NFKC", problem.prompt).lower()  # 10⁻⁶ becomes 10−6
    any_case = any(map(_ANY_CASE.search, _sentences(text, _ABOUT_CASE)))
    words = _words_in_any_case(text, outputs) if any_case else ()
    stated = _stated_tolerance(text)
    real = stated is not None or bool(_DIGITS.search(text)) or any(map(_has_decimal, outputs))
    return Rule(False, words, real, _tolerance(stated, outputs))


def _sentences(text: str, words: tuple[str, ...]) -> list[str]:
    """The sentences that contain one of the words."""
    if not any(word in text for word in words):
        return []
    sentences = (" ".join(sentence.split()) for sentence in _SENTENCE_END.split(text))
    return [sentence for sentence in sentences if any(word in sentence for word in words)]


def _has_decimal(output: str) -> bool:
    return any(mark in output for mark in ".eE") and bool(_SOME_DECIMAL.search(output))


def _stated_tolerance(text: str) -> float | None:
    """The error that a statement allows; the largest if it names several, None if it names none."""
    numbers = [match for sentence in _sentences(text, _ABOUT_ERRORS) for match in _SMALL.findall(sentence)]
    errors = [10.0 ** -int(power or exponent or len(zeros) + 1) for power, exponent, zeros in numbers]
    return max((error for error in errors if STATED[0] <= error <= STATED[1]), default=None)


def _tolerance(stated: float | None, outputs: list[str]) -> float:
    """The stated tolerance; but outputs are not compared more finely than they are written, if that is above 1e-6."""
    if stated is None or stated >= TOLERANCE:
        return stated or TOLERANCE
    digits = max(
        (len(match[0].partition(".")[2]) for text in outputs for match in _SOME_DECIMAL.finditer(text)), default=0
    )
    return min(TOLERANCE, max(stated, 10.0**-digits))


def _words_in_any_case(text: str, outputs: list[str]) -> tuple[bytes, ...]:
    """The answers whose case does not count, in lower case."""
    named = set(re.findall(r"[a-z]{2,}", _EXAMPLES.split(text)[0]))
    tokens = {token for output in outputs for token in output.split() if token.isalpha() and token.isascii()}
    alone = all(len(output.split()) == 1 for output in outputs)
    spelled = Counter(token.lower() for token in tokens)  # where a word has two spellings, its case has a meaning
    return tuple(
        word.encode()
        for word, n in sorted(spelled.items())
        if word in ("yes", "no") or (n == 1 and (alone or word in named))
    )
