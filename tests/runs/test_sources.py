"""Sources: what counts as a change of code, and which modules a notebook can reach."""

import time

import pytest

from lib.runs.sources import Sources


@pytest.fixture
def box(repository):
    """A notebook that imports the package lib.box, whose module `host` starts others in three ways."""
    repository.notebook("10_sft", "from lib.box import host")
    repository.write("lib/__init__.py", "")
    repository.write("lib/box/__init__.py", "from .inner import X\n")
    repository.write("lib/box/inner.py", "def f():\n    from .. import box\n    import numpy.linalg\n")
    repository.write("lib/box/host.py", 'A = ["-m", "lib.box.worker"]\nB = "guard.c"\nC = "child.py"\nD = "no.py"\n')
    repository.write("lib/box/worker.py", "import pandas as pd\n")
    repository.write("lib/box/child.py", "import grandchild\n")
    repository.write("lib/box/grandchild.py", "import json\n")
    repository.write("lib/box/guard.c", "int main;\n")
    repository.write("lib/box/stranger.py", "X = 1\n")
    return repository


def test_all_ways_to_start_code_are_followed(box):
    modules, packages = Sources(box.root).reachable("10_sft")
    names = ("", ".child", ".grandchild", ".host", ".inner", ".worker")
    assert modules == ["lib", *sorted([f"lib.box{name}" for name in names] + ["lib/box/guard.c"])]
    assert packages == {"numpy", "pandas", "json"}


def test_some_modules_can_be_left_out_with_everything_that_only_they_reach(box):
    modules, packages = Sources(box.root).reachable("10_sft", without={"lib.box.child", "lib.box.inner"})
    assert not {"lib.box.child", "lib.box.grandchild", "lib.box.inner"} & set(modules)
    assert packages == {"pandas"}


CODE = '''"""Says hello."""
def f(x):
    """To x."""
    return x + 1  # one
'''


@pytest.mark.parametrize(
    ("edited", "same"),
    [
        (CODE.replace("# one", "# more").replace("To x.", "To you."), True),
        ("def f(\n    x,\n):\n    return (x\n        + 1)\n", True),
        (CODE.replace("x + 1", "x + 2"), False),
        (CODE.replace('"""To x."""', "'not' 'documentation'; x = x"), False),
    ],
)
def test_a_module_counts_as_what_it_does(repository, edited, same):
    repository.write("lib/hello.py", CODE)
    before = Sources(repository.root).module("lib.hello").hash
    repository.write("lib/hello.py", edited)
    assert (Sources(repository.root).module("lib.hello").hash == before) is same


@pytest.mark.parametrize(
    ("cell", "same"),
    [("x = 1  # comment", True), ("%time x = 1", False), ("!ls\nx = 1", False), ("x = '''\n%d items\n'''", False)],
)
def test_a_notebook_counts_as_its_code_cells_magics_included(repository, cell, same):
    repository.notebook("10_sft", "x = 1", parameters="rate: float = 0.1  # step\n")
    before = Sources(repository.root).notebook("10_sft").hash
    repository.notebook("10_sft", cell, parameters="rate: float = 0.2  # another default\n")
    assert (Sources(repository.root).notebook("10_sft").hash == before) is same


def test_code_that_can_not_be_read_is_named(repository):
    repository.notebook("10_sft", "x = = 1")
    with pytest.raises(SyntaxError) as error:
        Sources(repository.root).notebook("10_sft")
    assert error.value.filename == "10_sft.ipynb"


def test_reading_all_of_lib_is_quick(repository):
    repository.notebook("10_sft", *[f"import lib.{path.stem}" for path in (repository.root / "lib").glob("[a-z]*")])
    began = time.process_time()
    modules, _ = Sources(repository.root).reachable("10_sft")
    assert len(modules) > 20
    assert time.process_time() - began < 1.0
