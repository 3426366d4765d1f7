"""Packages that programs may import: those that the judge names, read-only, and nothing else."""

import pytest
from judged import ANSWER, function, stdio

from lib.judge import IsolationError, Judge


@pytest.fixture(scope="module")
def numerical():
    with Judge(workers=1, packages=("numpy",)) as judge:
        yield judge


def output(judge, program: str) -> str:
    return judge.judge(program, stdio(("", "never this"))).tests[0].got


def test_programs_may_import_what_is_named(numerical):
    program = "import numpy as np\na = np.array(input().split(), dtype=int)\nprint(int(np.linalg.norm(a)))"
    tests = (("3 4", "5"), ("6 8", "10"), ("0 0", "0"))
    assert numerical.judge(program, stdio(*tests, memory_limit=64, time_limit=0.2)).accepted
    program = "import numpy as np\ndef f(a): return np.cumsum(a).tolist()"
    assert numerical.judge(program, function("assert f([1, 2, 3]) == [1, 3, 6]")).accepted
    test = "import numpy as np\nassert f(np.arange(3).tolist()) == [0, 1, 3]"
    assert numerical.judge(program, function(test)).accepted
    assert numerical.judge("import pandas", ANSWER).tests[0].detail == "ModuleNotFoundError: No module named 'pandas'"


def test_a_judge_without_packages_offers_none(judge):
    assert judge.judge("import numpy", ANSWER).tests[0].detail == "ModuleNotFoundError: No module named 'numpy'"
    assert (
        output(judge, "import os, sys\nprint(os.path.exists('/packages'), '/packages' in sys.path)") == "False False\n"
    )


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/packages/numpy/__init__.py', 'a')",
        "open('/packages/new.py', 'w')",
        "numpy.save('/packages/x.npy', numpy.zeros(1))",
        "numpy.memmap('/packages/numpy/__init__.py', mode='r+')",
        f"numpy.fromfile({__file__!r})",
        "numpy.fromfile('/packages/../etc/passwd')",
        "numpy.load('/proc/self/environ')",
        "os.remove('/packages/numpy/version.py')",
        "os.listdir('/packages/bin')",
    ],
)
def test_packages_open_no_way_to_other_files(numerical, attempt):
    program = f"import numpy, os\ntry:\n    {attempt}\n    print('done')\nexcept OSError:\n    print('refused')"
    assert output(numerical, program) == "refused\n"


def test_a_program_that_patches_a_package_patches_its_own_copy(numerical):
    cheat = "import numpy\nnumpy.sum = numpy.add = print\nnumpy.seen = 42\nprint(41)"
    honest = "import numpy\nprint(getattr(numpy, 'seen', int(numpy.sum([20, 22]))))"
    verdicts = numerical.judge_many([(cheat, ANSWER), (honest, ANSWER), (f"{honest}\nx = 1", ANSWER)])
    assert [verdict.accepted for verdict in verdicts] == [False, True, True]


def test_a_cached_verdict_belongs_to_the_packages(tmp_path):
    program = "import numpy\nprint(42)"
    for packages, accepted in (((), False), (("numpy",), True), ((), False)):
        with Judge(workers=1, cache=tmp_path, packages=packages) as judge:
            assert judge.judge(program, ANSWER).accepted == accepted
            assert judge.options["packages"] == packages


def test_what_can_not_be_offered_is_an_error():
    with pytest.raises(ValueError, match="package no-such-package, which is not installed"):
        Judge(packages=["no-such-package"])
    with pytest.raises(ValueError, match="only by the local backend with namespaces"):
        Judge(packages=["numpy"], isolation="none")
    with pytest.raises(IsolationError, match="numpy"):
        Judge(workers=1, packages=["pandas"])  # which needs numpy
