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

ALWAYS = "class A{base}:\n" + "".join(
    f"  def __{name}__(s, *a): return True\n"
    for name in ("eq", "ne", "lt", "le", "gt", "ge", "contains", "bool", "instancecheck", "isub")
)
LYING = {  # each against the asserts of SQUARE
    "equal to everything": f"{ALWAYS.format(base='')}def f(x): return A()",
    "an int that is equal to everything": (
        f"{ALWAYS.format(base='(int)')}  __hash__ = int.__hash__\ndef f(x): return A(1)"
    ),
    "a str that is equal to everything": f"{ALWAYS.format(base='(str)')}  __hash__ = None\ndef f(x): return A('x')",
    "a class equal to everything": (
        "class M(type):\n  def __eq__(s, o): return True\n  __hash__ = type.__hash__\n"
        "class A(metaclass=M): pass\ndef f(x): return A"
    ),
    "lying __class__": "class A:\n  __class__ = int\n  def __eq__(s, o): return True\ndef f(x): return A()",
    "unittest.mock.ANY": "from unittest.mock import ANY\ndef f(x): return ANY",
    "reflected comparison": (
        "class A(int):\n  def __eq__(s, o): return NotImplemented\n  def __ne__(s, o): return False\n"
        "def f(x): return A(7)"
    ),
    "hostile repr": "class A:\n  def __repr__(s): import os; os._exit(0)\n  __str__ = __repr__\ndef f(x): return A()",
    "hostile subclass of list": (
        "class L(list):\n  def __iter__(s): return iter([9, 4, 0])\n  __len__ = lambda s: 3\ndef f(x): return L()"
    ),
    "NaN": "def f(x): return float('nan')",
    "many answers": "def f(x): return (9, 4, 0)",
    "awaitable": "async def f(x): return 9",
    "an endless iterator": "def f(x):\n  while True: yield 9",
    "a frame walked": """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if isinstance(value, str) and 'assert' in value: return eval(value.split('==')[-1])
        frame = frame.f_back
""",
    "the heap searched": """
import gc
needle = bytes([97, 115, 115, 101, 114, 116, 32, 102, 40])
def f(x):
    gc.unfreeze()
    for o in gc.get_objects():
        for r in gc.get_referents(o):
            if type(r) is bytes and r != needle and needle in r: return 9
            if type(r) is str and needle.decode() in r: return 9
""",
    "the memory searched": """
import ctypes, sys
needle = bytes([97, 115, 115, 101, 114, 116, 32, 102, 40])
def f(x):
    start = id(object()) & ~0xfffff
    for page in range(start, start + (1 << 20), 4096):
        if needle in ctypes.string_at(page, 4096): return 9
""",
    "builtins patched": (
        "import builtins\n"
        "for n in ('abs', 'len', 'bool', 'isinstance', 'repr'): setattr(builtins, n, lambda *_: True)\n"
        "def f(x): return None"
    ),
    "json patched": (
        "import json\njson.dumps = json.JSONEncoder.encode = lambda *_, **k: '[\"answer\",9,{}]'\n"
        "json.loads = lambda *_: ['answer', 9, {}]\ndef f(x): return 1"
    ),
    "struct patched": "import struct\nstruct.Struct = lambda *_: 1\nstruct.pack = lambda *_: b''\ndef f(x): return 1",
    "the callee patched": """
import gc, sys
def f(x): return 1
for o in gc.get_objects():
    if type(o).__name__ == 'Wire': o.answer = lambda *_: 1
frame = sys._getframe()
while frame:
    for name in ('answer', 'serve', 'execute'):
        if name in frame.f_globals: frame.f_globals[name] = lambda *_: 1
    frame = frame.f_back
""",
    "a forged pass on the wire": """
import os
def f(x):
  m = b'[0, 0, "passed", "", "", ""]\\n[0, "end", 0]\\n'
  os.write(5, len(m).to_bytes(4, 'little') + m)
""",
    "raw noise on the wire": "import os\ndef f(x): os.write(5, os.urandom(4096))",
    "a huge frame on the wire": (
        "import os\ndef f(x):\n  os.write(5, b'\\xff\\xff\\xff\\x7f')\n  while True: os.write(5, b'x' * 4096)"
    ),
    "answers in advance": (
        "import os\nm = b'[\"answer\",null,{}]'\n"
        "for _ in range(20): os.write(5, len(m).to_bytes(4, 'little') + m)\ndef f(x): return 1"
    ),
    "a callback into the tests": """
import os
def f(x):
  m = b'["ask","call",[["o",0]],{}]'
  os.write(5, len(m).to_bytes(4, 'little') + m)
""",
    "a hostile constructor on the wire": """
import os
def f(x):
  m = b'["answer",["v","os","_exit",["L",[0]]],{}]'
  os.write(5, len(m).to_bytes(4, 'little') + m)
""",
    "the wire closed": "import os\ndef f(x): os.close(5)",
    "the records written": """
import os
def f(x):
  for d in range(3, 300):
    try: os.write(d, b'[0, 0, "passed", "", "", ""]\\n')
    except OSError: pass
""",
    "the tests killed": (
        "import os\ndef f(x):\n  for p in range(2, 50):\n    if p != os.getpid():\n      try: os.kill(p, 9)\n"
        "      except OSError: pass"
    ),
    "everything killed": "import os\ndef f(x): os.kill(-1, 9)",
    "the tests stopped": (
        "import os\ndef f(x):\n  for p in range(2, 50):\n    if p != os.getpid():\n"
        "      try: os.kill(p, 19)\n      except OSError: pass\n  while True: pass"
    ),
    "the assertion raised away": "def f(x): raise StopIteration",
    "GeneratorExit": "def f(x): raise GeneratorExit",
    "KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "an exception that is no error": "class E(Exception):\n  def __str__(s): raise SystemExit(0)\ndef f(x): raise E",
    "an endless string of an exception": "def f(x): raise ValueError('x' * 10**8)",
    "a bomb of data": "def f(x): return [[0] * 10**6] * 10**3",
    "nested too deep": "def f(x):\n  a = []\n  for _ in range(10**5): a = [a]\n  return a",
    "a list in itself": "def f(x):\n  a = []\n  a.append(a)\n  return a",
    "colliding keys": "def f(x): return {n * (2**61 - 1) + 1: 0 for n in range(30000)}",
    "a big integer": "def f(x): return 1 << 10**9",
    "a slow comparison": "def f(x): return [float('nan')] * 10**7",
    "state between tests": "n = iter((9, 4, 0))\ndef f(x): return 9 if x == 10 else next(n) + 1",
    "sys.settrace": "import sys\nsys.settrace(lambda *_: sys.exit(0))\ndef f(x): return 1",
    "a finalizer of the answer": "import os\nclass A:\n  def __del__(s): os._exit(0)\ndef f(x): return A()",
    "a name that looks like f": "def \u0192(x): return x * x\ndef F(x): return x * x",
    "text that is no answer": "def f(x): return str(x * x)",
}
SPYING = {  # each against one stdio test that expects 42
    "environment": "import os\nprint(os.environ.get('ANSWER', dict(os.environ)))",
    "/proc": "print(open('/proc/1/environ').read())",
    "files of the project": "print(open('/work/main/README.md').read())",
    "socket to localhost": "import socket\nsocket.create_connection(('127.0.0.1', 80))",
    "unix socket": "import socket\nsocket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
    "a daemon": "import os\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    while True: pass",
    "a shell": "import subprocess\nprint(subprocess.run(['sh', '-c', 'echo 42'], capture_output=True).stdout)",
    "posix_spawn": "import os\nos.posix_spawn('/bin/sh', ['sh'], {})",
    "multiprocessing": "import multiprocessing\nmultiprocessing.Process(target=print, args=(42,)).start()",
    "ptrace": "import ctypes\nctypes.CDLL(None).ptrace(16, 1, 0, 0)\nprint(41)",
    "unshare": "import ctypes\nprint(ctypes.CDLL(None).unshare(0x10000000))",
    "limits raised": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nx = bytearray(1 << 30)\nprint(42)"
    ),
    "memory behind a reserved stack": "# threading.stack_size\nx = bytearray(1 << 29)\nprint(42)",
    "memory in a stack": (
        "import threading\nthreading.stack_size(1 << 30)\ndef f():\n  import ctypes\n"
        "  x = ctypes.create_string_buffer(1 << 29)\n  ctypes.memset(x, 1, 1 << 29)\n  print(42)\n"
        "t = threading.Thread(target=f); t.start(); t.join()"
    ),
    "descriptors beyond the streams": (
        "import os\nfor n in range(3, 60):\n"
        "  for p in (f'/dev/fd/{n}', f'/proc/self/fd/{n}', f'/proc/{os.getpid()}/fd/{n}'):\n"
        "    try: print(open(p).read())\n    except OSError: pass"
    ),
    "a path that lies": (
        "import os\nclass P(str):\n  def __eq__(s, o): return True\n  __hash__ = lambda s: hash('/dev/stdin')\n"
        "for p in (P('/etc/passwd'), P('/proc/1/environ')):\n"
        "  try: print(42 if len(open(p).read()) else 41)\n  except OSError: pass"
    ),
    "the judge behind open": "g = open.__globals__ if '/dev/' else 0\nprint([v for v in g.values() if v == 42])",
    "shared memory": "from multiprocessing.shared_memory import SharedMemory\nSharedMemory('x', True, 9)",
    "memfd": "import os\nos.memfd_create('x')\nprint(42)",
    "a file in /tmp": "open('/tmp/x', 'w').write('42')",
    "a file in the library": "import os\nopen(os.__file__, 'a').write('#')",
    "stderr as answer": "import sys\nprint(42, file=sys.stderr)",
    "answer among others": "print(*range(100))",
    "digits of another script": "print('\u0664\u0662')",
    "zero-width": "print('4\\u200b2')",
    "null bytes": "print('42\\0')",
    "right to left": "print('\\u202e24')",
    "too big": "print(42 + 10**30)",
    "nearly": "print(42.0000001)",
    "hidden in an exception": "raise SystemExit('42')",
    "exit after a wrong answer": "import os\nprint(41, flush=True)\nos._exit(0)",
    "a fault after the answer": "import ctypes\nprint(42, flush=True)\nctypes.string_at(0)",
    "a coding cookie": "# coding: rot13\ncevag(42)",
    "a pickle on stdout": "import os, pickle\nos.write(1, pickle.dumps(('success', 42)))",
    "a report on every descriptor": (
        "import os\nfor d in range(3, 250):\n  try: os.write(d, b'\\0' * 9)\n  except OSError: pass"
    ),
}


@pytest.mark.parametrize("name", EARLY_EXITS)
def test_leaving_before_the_checks_is_not_paid(judge, name):
    verdict = judge.judge(EARLY_EXITS[name], function(*(test.input for test in SQUARE.tests), time_limit=0.5))
    assert verdict.passed == 0
    assert verdict.error_type in ("runtime_error", "wrong_answer", "timeout", "syntax_error")


@pytest.mark.parametrize("name", LYING)
def test_no_lie_of_a_function_is_paid_or_disturbs_an_honest_one(judge, name):
    start = time.monotonic()
    asserts = [test.input for test in SQUARE.tests]
    check = "def check(g):\n" + "".join(f"    {line.replace('f(', 'g(')}\n" for line in asserts) + "check(f)"
    honest = f"def f(x): return x * x  # {name}"
    one_by_one, together, neighbour = judge.judge_many(
        [
            (LYING[name], function(*asserts, time_limit=0.4)),
            (LYING[name], function(check, time_limit=0.4)),
            (honest, SQUARE),
        ]
    )
    for verdict in (one_by_one, together):
        assert not verdict.accepted
        assert verdict.passed <= (name == "state between tests")
        assert verdict.error_type in ("wrong_answer", "runtime_error", "timeout")
    assert neighbour.accepted
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("name", SPYING)
def test_spying_and_forging_earn_nothing(judge, name):
    for problem in (ANSWER, stdio(*[("", "42\n")] * 3)):
        verdict = judge.judge(SPYING[name], problem)
        assert verdict.passed == 0
        assert verdict.error_type in ("wrong_answer", "runtime_error", "timeout", "syntax_error")


def test_the_corpus_is_large():
    assert len(EARLY_EXITS) + len(HARMFUL) + len(LYING) + len(SPYING) >= 110


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
