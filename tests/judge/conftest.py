"""One judge for all tests of this folder, and the sandbox's modules by their bare names, as they import each other."""

import sys

import pytest

from lib.judge import Judge
from lib.judge.sandbox import ZYGOTE

sys.path.append(str(ZYGOTE.parent))


@pytest.fixture(scope="session")
def judge():
    with Judge(workers=2) as shared:
        yield shared
