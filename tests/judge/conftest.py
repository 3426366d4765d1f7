"""One judge for all tests of this folder."""

import pytest

from lib.judge import Judge


@pytest.fixture(scope="session")
def judge():
    with Judge(workers=2) as shared:
        yield shared
