import json
import textwrap
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recorded import ROWS

from lib.judge.answers import BLOCKS, Extraction, extract
from lib.policy.prompts import answer

SHARED = ROWS.parent / "cases" / "public_reports.jsonl"
CASES = {
    "one block": ("```python\nprint(1)\n```", Extraction("print(1)", "block")),
    "a block without a language": ("```\nprint(1)\n```", Extraction("print(1)", "block")),
    "tildes": ("~~~python\nprint(1)\n~~~", Extraction("print(1)", "block")),
    "backticks do not close tildes": ("~~~\ns = '''\n```\n'''\n~~~", Extraction("s = '''\n```\n'''", "block")),
    "prose around": ("Sure: ```python\nprint(1)\n```\nDone.", Extraction("print(1)", "prose")),
    "prose before": ("Sure:\n```python\nprint(1)\n```", Extraction("print(1)", "prose")),
    "prose behind the closing fence": ("```python\nprint(1)\n```Done.", Extraction("print(1)", "prose")),
    "code before the closing fence": ("```python\nprint(1)```", Extraction("print(1)", "prose")),
    "two blocks": ("```python\na = 1\n```\nor\n```python\nb = 2\n```", Extraction("b = 2", "several")),
    "two blocks, fences in a row": ("```python\na = 1\n``````python\nb = 2\n```", Extraction("b = 2", "several")),
    "a block that the next one ends": ("```python\na = 1\n```python\nb = 2\n```", Extraction("b = 2", "several")),
    "another language first": ("```sh\npip\n```\n```python\nb = 2\n```", Extraction("b = 2", "several")),
    "an interactive session": ("```python\nf()\n```\n```pycon\n>>> f()\n```", Extraction("f()", "several")),
    "sample output before the program": ("```\n3\n```\n```python\nb = 2\n```", Extraction("b = 2", "several")),
    "sample output behind the program": ("```\nprint(3)\n```\nOutput:\n```\n3\n```", Extraction("print(3)", "several")),
    "sample output, then cut off": ("```\n3\n```\n```python\nfor x", Extraction("for x", "unclosed")),
    "Python that is called text": ("```text\nprint(1)\n```", Extraction("print(1)", "block")),
    "only another language": ("```cpp\nint x;\n```", Extraction("```cpp\nint x;\n```", "no code")),
    "cut off": ("```python\nfor x in y:\n    pri", Extraction("for x in y:\n    pri", "unclosed")),
    "cut off in the closing fence": ("```python\nprint(1)\n``", Extraction("print(1)", "unclosed")),
    "cut off after prose": ("Sure:\n```python\nfor x", Extraction("for x", "unclosed")),
    "cut off after the fence": ("```python", Extraction("", "unclosed")),
    "cut off after a complete block": ("```python\na = 1\n```\n```python\nb", Extraction("a = 1", "several")),
    "a shorter closing fence": ("````python\nprint(1)\n```\nDone.", Extraction("print(1)", "prose")),
    "opened by the prompt": ("print(1)\n```\nDone.\n```\n3\n```", Extraction("print(1)", "several")),
    "opened by the prompt, with tildes": ("print(1)\n~~~", Extraction("print(1)", "unopened")),
    "words in front of a block": ("Python\n```\nprint(1)\n```", Extraction("print(1)", "prose")),
    "a wrapper": ("```markdown\nHi\n```python\nprint(1)\n```\n```", Extraction("print(1)", "prose")),
    "a longer wrapper": ("````md\nHi\n```python\nprint(1)\n```\n````", Extraction("print(1)", "prose")),
    "a wrapper without prose": ("```markdown\nprint(1)\n```", Extraction("print(1)", "block")),
    "thinking first": ("<think>\n```py\n0\n```\n</think>\n```python\nprint(1)\n```", Extraction("print(1)", "block")),
    "thinking that cuts off a draft": ("```\nx =\n</think>\n```\nprint(1)\n```", Extraction("print(1)", "block")),
    "thinking twice": ("<think>a</think>\n```\n0\n```\n<thinking>b</thinking>print(1)", Extraction("print(1)", "bare")),
    "thinking that does not end": ("<think>\nMaybe\n```python\nprint(0)\n```", Extraction("", "empty")),
    "thinking after the answer": ("```python\nprint(1)\n```<think>\n```python\n0", Extraction("print(1)", "block")),
    "an answer in tags": ("Hm.\n<answer>\nprint(1)\n</answer>\nDone.", Extraction("print(1)", "bare")),
    "a block in tags": ("<answer>\n```python\nprint(1)\n```\n</answer>", Extraction("print(1)", "prose")),
    "an answer in tags without code": ("<answer>See:</answer>\n```\nprint(1)\n```", Extraction("print(1)", "prose")),
    "Code Llama": ("[PYTHON]\nprint(1)\n[/PYTHON]", Extraction("print(1)", "bare")),
    "end tokens": ("```python\nprint(1)\n```<|im_end|>\n<|endoftext|>", Extraction("print(1)", "block")),
    "tags in a string": ('print("</think><answer>")', Extraction('print("</think><answer>")', "bare")),
    "a quote that ends": ("> ```python\n> print(1)\nDone.", Extraction("print(1)", "prose")),
    "indented fences": ("1. Code:\n   ```python\nif 1:\n    f()\n   ```", Extraction("if 1:\n    f()", "prose")),
    "bare code": ("print(1)\n", Extraction("print(1)", "bare")),
    "no code": ("I can't solve this.", Extraction("I can't solve this.", "no code")),
    "no text that a parser takes": ("a\0b", Extraction("a\0b", "no code")),
    "nothing": ("", Extraction("", "empty")),
    "an empty block": ("```python\n```", Extraction("", "empty")),
    "indentation is kept": ("```python\n    return 1\n```", Extraction("    return 1", "block")),
    "windows line ends": ("```python\r\nprint(1)\r\n```", Extraction("print(1)", "block")),
    "backticks inside a line": ("```python\ns = '```'\n```", Extraction("s = '```'", "block")),
}  # fmt: skip


@pytest.mark.parametrize(("completion", "extraction"), CASES.values(), ids=CASES.keys())
def test_extract(completion, extraction):
    assert extract(completion) == extraction
    assert extraction.format_ok == (extraction.form == "block")


PYTHON = """python; py; Python3.11; py3; PYTHON; {.python .numberLines}; {#id .python}; {python, echo=FALSE}
    ; python:main.py; python title="a b.py"; python {1,3}; python=; main.py; language-python; python,linenos"""


@pytest.mark.parametrize("info", [info.strip() for info in PYTHON.split(";")])
def test_the_info_string_names_python(info):
    text = f"```{info}\nprint(1)\n```\n```\nprint(0)\n```"
    assert extract(text).program == "print(1)", "a marked block is preferred to a later one without a mark"


@pytest.mark.parametrize("info", ["pycon", "pyrex", "python-repl", "json", "text python"])
def test_other_info_strings_do_not(info):
    assert extract(f"```{info}\nprint(0)\n```\n```\nprint(1)\n```", "first").program == "print(1)"


@pytest.mark.parametrize(("rule", "program"), [("last", "c = 3"), ("first", "a = 1"), ("longest", "b = 2222")])
def test_the_rule_chooses_among_blocks_of_the_best_kind(rule, program):
    blocks = ["a = 1", "b = 2222", "c = 3"]
    text = "\n".join(f"```python\n{block}\n```" for block in blocks) + "\n```\nprint('unmarked and longer')\n```"
    assert extract(text, rule) == Extraction(program, "several")


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match=r"no rule 'best' .* use one of last, first, longest"):
        extract("", "best")


FENCED_DOCSTRING = 'def f():\n    """\n    ```python\n    f()\n    ```\n\n```\nraw\n```\n    """\nprint(f())'
PIECES = [
    "x = 1",
    "if x:",
    "    print(x)",
    "",
    "  ",
    "# note",
    "s = 'a > b'",
    "print('<think>', '</think>')",
    "é = '~~'",
]
LINES = st.one_of(st.sampled_from(PIECES), st.integers().map("x = {}".format), st.text("abc ().:'>-1", max_size=12))


def _is_python(text: str) -> bool:
    try:
        compile(text, "", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


programs = st.lists(LINES, min_size=1, max_size=6).map("\n".join).map(str.strip).filter(_is_python)
programs = programs.map(lambda text: f"{text}\nprint(1)" if "\n" in text or text else "print(1)")
TEMPLATES = [
    "```python\n{}\n```",
    "~~~~ py3 x\n{}\n~~~~~\nDone.",
    "Sure: ```python\n{}\n```",
    "```Python title='a'\n{}\n```That is all.",
    "```python\n{}\n```</answer>",
    "```python\n{}",
    "{}\n```\nThis prints x.",
    "{}\n~~~",
    "```markdown\nHi!\n\n```python\n{}\n```\n```\nBye",
    "````md\n```\n{}\n```\n````",
    "<think>\n```python\nprint(0)\n```\n</think>\n```\n{}\n```",
    "Hm.\n```python\nprint(0)\n</think>\n\n```python\n{}\n```<|im_end|>",
    "<thinking>x</thinking>\n<answer>\n{}\n</answer>",
    "<answer>\n~~~python\n{}\n~~~\n</answer>",
    "```\n3\n```\n```python\n{}\n```\n```\n6\n```",
    "Use the ``` fence, and ```x``` too.\n```python\n{}\n```",
]
QUOTES = {
    "1. ": "   ",
    "- Code:\n\n  ": "  ",
    "10. a\n    - b\n\n      ": "      ",
    "> ": "> ",
    "> > ": "> > ",
    ">": ">",
}
QUOTES |= {"> - ": ">   ", "- > ": "  > ", "-\t": "\t"}


@settings(max_examples=60)
@given(programs)
@example(FENCED_DOCSTRING)
def test_a_program_comes_out_as_it_was(program):
    for template in TEMPLATES:
        assert extract(template.format(program)).program.strip() == program, template
    for first, prefix in QUOTES.items():
        text = first + textwrap.indent(f"```python\n{program}\n```", prefix, lambda _: True).removeprefix(prefix)
        assert extract(text).program.strip() == program, text


MARKS = ["```", "````", "~~~", "python", "md", "\n", "\r\n", " ", "    ", "print(1)", "`", "'''", "> ", "- ", "1. "]
MARKS += ["<think>", "</think>", "<answer>", "</answer>", "<|im_end|>", "\0", "\ud800"]
texts = st.one_of(st.text(), st.lists(st.sampled_from(MARKS), max_size=30).map("".join))


@given(texts, st.sampled_from(BLOCKS))
def test_extract_never_raises_and_calls_only_a_block_well_formatted(completion, rule):
    extraction = extract(completion, rule)
    if extraction.format_ok:
        assert completion.rpartition(">")[2].strip().startswith(("```", "~~~")) or completion.strip()[0] in "`~<"
        assert extraction.program.strip()


FENCES = st.sampled_from(["```", "````", "python", "\n", "\r\n", " ", "print(1)", "`"])


@given(st.one_of(st.text(), st.lists(FENCES).map("".join)))
def test_extract_gives_back_the_program_that_answer_wrote(program):
    extraction = extract(answer(program))
    assert extraction.program == program.strip("\r\n") or not program.strip()
    assert extraction.format_ok == bool(program.strip())


N = 100_000
HOSTILE = {
    "backticks": "`" * N,
    "fences": "```\n" * N,
    "opening fences": "```python\n" * N,
    "fences in open strings": "```\n'''\n```\n" * (N // 3),
    "a megabyte of code": "```python\n" + "x = 1\n" * 160_000 + "```",
    "white space": " " * 10 * N + "x",
    "quotes": "> " * N + "```\n" + "> " * N,
    "tags": "<answer>\n</think>\n" * (N // 2),
    "brackets": "```python\n" + "(" * N + "\n```",
    "minus signs": "-" * N + "1",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_texts_are_read_within_seconds(text):
    start = time.process_time()
    extract(text)
    assert time.process_time() - start < 10


@pytest.mark.skipif(not SHARED.exists(), reason="there is no ../shared/cases beside the project")
def test_answers_of_public_bug_reports():
    rows = [row for row in map(json.loads, SHARED.read_text().splitlines()) if row["kind"] == "answer"]
    wrong = [row["name"] for row in rows if extract(row["text"]).program.strip() != row["program"].strip()]
    assert len(rows) >= 14
    assert not wrong
