"""Builds small problems for the tests of the judge."""

from lib.problems import Problem, Test


def stdio(*tests: tuple[str, str], visibility: str = "public", time_limit: float = 1.0, memory_limit: int = 256):
    """A stdio problem with these (input, output) tests."""
    made = tuple(Test(given, wanted, visibility) for given, wanted in tests)
    return Problem("test/stdio", "test", "test", "stdio", "?", made, time_limit=time_limit, memory_limit=memory_limit)


def function(*tests: str, visibility: str = "public", time_limit: float = 1.0, memory_limit: int = 256):
    """A function problem with these tests (source)."""
    made = tuple(Test(source, visibility=visibility) for source in tests)
    return Problem("test/f", "test", "test", "function", "?", made, time_limit=time_limit, memory_limit=memory_limit)


DOUBLE = stdio(*((f"{n}\n", f"{2 * n}\n") for n in range(1, 6)))  # print twice the number
DOUBLED = "print(2 * int(input()))\n"
ANSWER = stdio(("", "42\n"))  # print 42
SQUARE = function("assert f(3) == 9", "assert f(-2) == 4", "assert f(0) == 0")
