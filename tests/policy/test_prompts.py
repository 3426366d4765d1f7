from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_policy import make_tokenizer

from lib.policy.prompts import Extraction, answer, count_tokens, drop_long_prompts, extract, messages
from lib.problems import Problem

PROBLEM = Problem("p1", "tiny_contests", "train", "stdio", "\nPrint the sum.\n", tests=())


def test_the_statement_alone_is_the_one_user_message():
    assert messages(PROBLEM) == [{"role": "user", "content": "Print the sum."}]


def test_an_instruction_of_the_preset_follows_the_statement():
    assert messages(PROBLEM, "Answer in Python.")[0]["content"] == "Print the sum.\nAnswer in Python."


def test_prompts_of_too_many_tokens_are_left_out_with_a_word_and_the_instruction_counts(capsys):
    tokenizer = make_tokenizer()
    long = replace(PROBLEM, id="p2", prompt="Print the sum. " * 9)
    limit = count_tokens(tokenizer, messages(PROBLEM, "Answer."))
    assert drop_long_prompts([PROBLEM, PROBLEM], tokenizer, limit, "Answer.") == [PROBLEM, PROBLEM]
    assert capsys.readouterr().out == ""
    assert drop_long_prompts([long, PROBLEM], tokenizer, limit, "Answer.") == [PROBLEM]
    assert capsys.readouterr().out == f"1 of 2 prompts have more than {limit} tokens: excluded\n"
    assert drop_long_prompts([PROBLEM], tokenizer, limit, "Answer in Python.") == []


CASES = {
    "one block": ("```python\nprint(1)\n```", Extraction("print(1)", "block")),
    "py is python": ("```py\nprint(1)\n```\n", Extraction("print(1)", "block")),
    "a block without a language": ("```\nprint(1)\n```", Extraction("print(1)", "block")),
    "prose around": ("Sure: ```python\nprint(1)\n```\nDone.", Extraction("print(1)", "prose")),
    "prose before": ("Sure:\n```python\nprint(1)\n```", Extraction("print(1)", "prose")),
    "two blocks": ("```python\na = 1\n```\nor\n```python\nb = 2\n```", Extraction("a = 1", "several")),
    "another language first": ("```sh\npip\n```\n```python\nb = 2\n```", Extraction("b = 2", "several")),
    "sample output before the program": ("```\n3\n```\n```python\nb = 2\n```", Extraction("b = 2", "several")),
    "only another language": ("```cpp\nint x;\n```", Extraction("```cpp\nint x;\n```", "no code")),
    "cut off": ("```python\nfor x in y:\n    pri", Extraction("for x in y:\n    pri", "unclosed")),
    "cut off after prose": ("Sure:\n```python\nfor x", Extraction("for x", "unclosed")),
    "cut off after the fence": ("```python", Extraction("", "unclosed")),
    "cut off after a complete block": ("```python\na = 1\n```\n```python\nb", Extraction("a = 1", "several")),
    "bare code": ("print(1)\n", Extraction("print(1)", "bare")),
    "no code": ("I can't solve this.", Extraction("I can't solve this.", "no code")),
    "no text that a parser takes": ("a\0b", Extraction("a\0b", "no code")),
    "nothing": ("", Extraction("", "empty")),
    "an empty block": ("```python\n```", Extraction("", "empty")),
    "indentation is kept": ("```python\n    return 1\n```", Extraction("    return 1", "block")),
    "windows line ends": ("```python\r\nprint(1)\r\n```", Extraction("print(1)", "block")),
    "backticks inside a line": ("```python\ns = '```'\n```", Extraction("s = '```'", "block")),
}


@pytest.mark.parametrize(("completion", "extraction"), CASES.values(), ids=CASES.keys())
def test_extract(completion, extraction):
    assert extract(completion) == extraction
    assert extraction.format_ok == (extraction.form == "block")


def test_nesting_that_no_parser_takes_is_no_code_and_raises_nothing():
    assert extract("(" * 1_000).form == "no code"
    assert extract("-" * 20_000 + "1").form == "no code"


FENCES = st.sampled_from(["```", "````", "python", "\n", "\r\n", " ", "print(1)", "`"])


@given(st.one_of(st.text(), st.lists(FENCES).map("".join)))
def test_extract_never_raises_and_calls_only_a_block_well_formatted(completion):
    extraction = extract(completion)
    if extraction.format_ok:
        assert completion.strip().startswith("```")
        assert extraction.program.strip()


@given(st.one_of(st.text(), st.lists(FENCES).map("".join)))
def test_extract_gives_back_the_program_that_answer_wrote(program):
    extraction = extract(answer(program))
    assert extraction.program == program.strip("\r\n")
    assert extraction.format_ok == bool(program.strip())
