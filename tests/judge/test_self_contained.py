"""The folder works alone: copied into an empty project, under any package name."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

JUDGE = Path(__file__).resolve().parents[2] / "lib" / "judge"
SCRIPT = """
import json
from {package} import Judge, Problem, Test, require_self_test
tests = tuple(Test(f"{{n}}\\n", f"{{2 * n}}\\n") for n in range(3))
problem = Problem("double", "demo", "train", "stdio", "Print twice the number.", tests)
square = Problem("square", "demo", "train", "function", "", (Test("assert f(3) == 9"),))
pairs = [("print(2 * int(input()))", problem), ("print(7)", problem), ("def f(x): return x * x", square)]
with Judge(workers=1) as judge:
    print(json.dumps([verdict.error_type for verdict in judge.judge_many(pairs)]))
    require_self_test(judge)
"""


@pytest.mark.parametrize("package", ["grader", "some.where.judge"])
def test_it_judges_in_an_empty_project_under_another_name(package, tmp_path):
    folder = tmp_path.joinpath(*package.split("."))
    shutil.copytree(JUDGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-I", "-c", f"import sys\nsys.path[0:0] = ['.']\n{SCRIPT.format(package=package)}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["success", "wrong_answer", "success"]


def test_nothing_outside_the_folder_is_imported_but_two_packages_and_the_standard_library():
    own = {path.stem for path in JUDGE.rglob("*.py")}
    imported = set()
    for path in JUDGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.ImportFrom):
                depth = len(path.relative_to(JUDGE).parts)
                assert node.level <= depth, f"{path.name} imports from outside the folder"
    assert imported - sys.stdlib_module_names - own == {"diskcache", "requests"}
