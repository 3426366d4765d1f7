"""The judge: programs in, verdicts out. Knows nothing of models and never imports torch.

    from lib.judge import Judge
    with Judge(workers=2) as judge:
        verdict = judge.judge(program, problem)
        verdicts = judge.judge_many([(program, problem), ...])  # in order

    for verdict in judge.judge_stream(pairs): ...  # the same for any number of pairs, in bounded memory

Two sides, joined by one socket a worker:
- outside, in the calling process: `judge` (what callers see), `stream` (a call under way: hands out work, tries again),
  `pool` and `worker` (start workers and talk with them), `job` (one submission), `scoring` and `compare` (outputs
  become results and verdicts; expected outputs stay here), `verdict` (the vocabulary), `memory` and `cache` (what is
  known already), `load` (queue and pace), `selftest` (is this machine's judge fit to pay rewards?);
- inside, in slim processes of the plain Python without any package: `zygote` (start-up), `isolation` (namespaces and
  root), `landlock`, `seccomp` and `calls` (what may be asked of the kernel), `submission` (one program's tests),
  `watch` (limits), `program` (the forked child that becomes the program), `carry` (which failures of the quick pass
  count);
- `frames` is the language between them. With `Judge(backend="sandbox_fusion", url=...)` the inside runs on servers:
  `sandbox_fusion` takes the place of the worker here, `driver` that of the judge there.

Function problems: the tests (taken apart into cases outside, by `cases`) run in a process of their own (`tester`),
which calls the program in another (`callee`) over a wire of plain data (`plain`). No object, frame or exit of a
program reaches a verdict. Objects that only the program's process can hold, such as instances of its classes, are
handled by reference; a verdict counts the tests that did (`by_reference`): there the program's code compares them.

`cost` measures what an accepted program costs, in instructions, and `counting` is the process in which it does so.
"""

from lib.judge.judge import Judge
from lib.judge.selftest import SelfTestError, require_self_test
from lib.judge.verdict import ERROR_TYPES, TestResult, Verdict
from lib.judge.worker import IsolationError, ServerError

__all__ = [
    "ERROR_TYPES",
    "IsolationError",
    "Judge",
    "SelfTestError",
    "ServerError",
    "TestResult",
    "Verdict",
    "require_self_test",
]
