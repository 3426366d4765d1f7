"""Programs that want to be paid for nothing, or to do harm. None is paid, none hangs or disturbs the judge."""

import time

import pytest
from judged import ANSWER, DOUBLE, DOUBLED, SQUARE, function, stdio

EARLY_EXITS = {
    "os._exit": "import os\nos._exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "exit in the function": "def f(x): exit(0)",
    "SystemExit(None)": "def f(x): raise SystemExit",
    "os._exit in the function": "import os\ndef f(x): os._exit(0)",
    "exit with a lying code": "class I(int):\n  def __and__(s, o): return 0\ndef f(x): raise SystemExit(I(7))",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return None",
    "excepthook": "import sys, os\nsys.excepthook = lambda *_: os._exit(0)\ndef f(x): return None",
    "finalizer": "import os\nclass A:\n  def __del__(s): os._exit(0)\na = A()\ndef f(x): return None",
    "thread": "import os, threading\nthreading.Thread(target=os._exit, args=(0,)).start()\ndef f(x):\n  while 1: pass",
    "signal": "import os, signal\nsignal.signal(2, lambda *_: os._exit(0))\ndef f(x): signal.raise_signal(2)",
    "exec patched": "import builtins\nbuiltins.exec = lambda *_: None\ndef f(x): return None",
    "compile patched": "import builtins\nbuiltins.compile = lambda *_, **k: __import__('types').CodeType\ndef f(x): 0",
    "os.write patched": "import os\nos.write = lambda *_: 0\ndef f(x): return None",
    "endless generator": "def f(x):\n  yield from iter(int, 1)",
    "AssertionError of its own": "class AssertionError(Exception): pass\ndef f(x): return None",
    "report written": "import os\nos.write(3, b'0' * 32)\ndef f(x): return None",
    "every descriptor written": """
import os
for d in range(256):
    try: os.write(d, b'{"done": true}')
    except OSError: pass
def f(x): return None
""",
}
HARMFUL = {
    "fork bomb": "import os\nwhile True: os.fork()",
    "memory bomb": "x = 'x'\nwhile True: x += x",
    "output bomb": "while True: print('x' * 10**6, flush=True)",
    "error bomb": "import sys\nwhile True: print('x' * 10**6, file=sys.stderr)",
    "thread bomb": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
    "compile bomb": "x = " + "(" * 80 + "1" + ",)*1000" * 80,
    "constant folding": "x = 9**9**9",
    "big integer": "x = 10**10**8",
    "regular expression": "import re\nre.match('(a*)*b', 'a' * 100)",
    "open files": "f = []\nwhile True: f.append(open('/dev/null'))",
    "ignored signals": "import signal\n[signal.signal(s, 1) for s in (1, 2, 3, 15, 24, 25)]\nwhile True: pass",
    "kill everything": "import os, signal\nos.kill(-1, signal.SIGKILL)\nwhile True: pass",
    "kill the parent": "import os\nos.kill(os.getppid(), 9)\nos.kill(os.getppid(), 19)\nwhile True: pass",
    "slow exit": "import atexit\n@atexit.register\ndef f():\n  while True: pass\nprint(42)",
    "slow thread": "import threading\ndef f():\n  while True: pass\nthreading.Thread(target=f).start()\nprint(42)",
    "slow finalizer": "class A:\n  def __del__(s):\n    while True: pass\na = A()\nprint(42)",
    "stack overflow": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return [f(x) for _ in '1']\nf(1)",
    "harness patched": """
import os, sys
for module in list(sys.modules.values()):
    for name in list(vars(module)):
        if name in ('_exit', 'write', 'leave', 'fork', 'waitpid'): setattr(module, name, lambda *_: None)
frame = sys._getframe()
while frame:
    for name, value in list(frame.f_globals.items()):
        if callable(value): frame.f_globals[name] = lambda *_: None
    frame = frame.f_back
""",
    "descriptors closed": "import os\nos.closerange(0, 256)\nprint(42)",
    "report rewritten": "import os\nos.lseek(3, 0, 0)\nos.write(3, b'failed: judge')\nos.write(1, b'41')",
    "lying exit code": "class I(int):\n  def __and__(s, o): raise SystemExit(0)\nraise SystemExit(I(1))",
    "clocks faked": "import time\ntime.process_time = time.monotonic = lambda: 0\nwhile True: pass",
    "standard input written": "import os\nos.pwrite(0, b'1\\n', 0)\nos.ftruncate(0, 1 << 24)\nprint(41)",
}


@pytest.mark.parametrize("name", EARLY_EXITS)
def test_leaving_before_the_checks_is_not_paid(judge, name):
    verdict = judge.judge(EARLY_EXITS[name], function(*(test.input for test in SQUARE.tests), time_limit=0.5))
    assert verdict.passed == 0
    assert verdict.error_type in ("runtime_error", "wrong_answer", "timeout", "syntax_error")


@pytest.mark.parametrize("name", HARMFUL)
def test_harm_ends_in_a_verdict_and_disturbs_nobody(judge, name):
    start = time.monotonic()
    problem = stdio(("", "42\n"), time_limit=0.3)
    honest = [(f"{DOUBLED}# {name} {n}", DOUBLE) for n in range(6)]
    harmed, *others = judge.judge_many([(HARMFUL[name], problem), *honest])
    assert harmed.error_type in ("runtime_error", "timeout", "syntax_error", "wrong_answer")
    assert harmed.passed == 0
    assert all(verdict.accepted for verdict in others)
    assert time.monotonic() - start < 60
    assert judge.judge("print(42)  # " + name, ANSWER).accepted


@pytest.mark.parametrize("name", HARMFUL)
def test_harm_done_in_the_quick_pass_is_no_different(judge, name):
    verdict = judge.judge(HARMFUL[name], stdio(*[("", "42\n")] * 3, time_limit=0.2))
    assert verdict.passed == 0
    assert verdict.error_type != "api_error"


def test_expected_outputs_are_nowhere_in_the_sandbox(judge):
    """The program looks through every object and every frame that it can reach."""
    program = """
import gc, sys
wanted = ''.join(map(chr, [120, 57, 102, 113, 55, 122, 107, 50]))
gc.unfreeze()
places = [o for o in gc.get_objects() if isinstance(o, (list, tuple, dict))]
frame = sys._getframe().f_back
while frame:
    places += [frame.f_locals, frame.f_globals]
    frame = frame.f_back
texts = {v for p in places for v in (p.values() if isinstance(p, dict) else p) if type(v) in (str, bytes)} - {wanted}
print(any(wanted in t if type(t) is str else wanted.encode() in t for t in texts), len(texts) > 1000)
"""
    verdict = judge.judge(program, stdio(("", "x9fq7zk2"), time_limit=5.0))
    assert verdict.tests[0].got == "False True\n"


def test_the_next_tests_input_gives_no_right_to_its_answer(judge):
    """In the quick pass the files of later tests are open; an answer written there in advance earns nothing twice."""
    program = """
import os
n = int(input())
for d in range(5, 200):
    try: os.write(d, b'%d\\n' % (2 * n))
    except OSError: pass
print(2 * n)
"""
    assert judge.judge(program, DOUBLE).passed <= 5
    assert judge.judge(program.replace("print(2 * n)", "print(0)"), DOUBLE).passed == 0


def test_an_answer_is_the_whole_output(judge):
    assert judge.judge("for n in range(100): print(n)", ANSWER).error_type == "wrong_answer"
    assert judge.judge("print('42', end='\\x00')", ANSWER).error_type == "wrong_answer"
