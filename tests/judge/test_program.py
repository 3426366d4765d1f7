"""Fidelity: honest programs run as they would by `python program.py`."""

import pytest
from judged import stdio

INPUT, OUTPUT = "3\n1 2 3\nend\n", "6\n"
HONEST = {
    "input": "input(); print(sum(map(int, input().split())))",
    "iteration over stdin": "import sys\nprint(sum(int(x) for line in sys.stdin for x in line.split()[1:]) + 1)",
    "sys.stdin.read": "import sys\nprint(sum(map(int, sys.stdin.read().split()[1:4])))",
    "stdin.buffer": "import sys\nread = sys.stdin.buffer.readline\nread()\nprint(sum(map(int, read().split())))",
    "input after readline": "import sys\nsys.stdin.readline()\nprint(sum(map(int, input().split())))",
    "open(0)": "print(sum(map(int, open(0).read().split()[1:4])))",
    "size of stdin": "import os\nprint(sum(map(int, os.read(0, os.fstat(0).st_size).split()[1:4])))",
    "mmap of stdin": "import mmap\nm = mmap.mmap(0, 0, access=mmap.ACCESS_READ)\nprint(m[:].count(b' ') * 3)",
    "seek and tell": "import sys\nsys.stdin.read()\nsys.stdin.seek(2)\nprint(sum(map(int, input().split())))",
    "os.write": "import os\nos.write(1, b'6\\n')",
    "open(1) left open": "f = open(1, 'w')\nf.write('6')",
    "open(1) in a cycle": "class A: pass\na = A()\na.a = a\na.f = open(1, 'w')\na.f.write('6')",
    "stdout closed": "import sys\nsys.stdout.write('6')\nsys.stdout.close()",
    "stdout replaced": "import sys, io\nsys.stdout = s = io.StringIO()\nprint(6)\nsys.__stdout__.write(s.getvalue())",
    "contest template": """
import os, sys
from io import BytesIO, IOBase
class FastIO(IOBase):
    newlines = 0
    def __init__(self, file):
        self._fd = file.fileno()
        self.buffer = BytesIO()
        self.writable = "x" in file.mode or "r" not in file.mode
        self.write = self.buffer.write if self.writable else None
    def read(self):
        while True:
            b = os.read(self._fd, max(os.fstat(self._fd).st_size, 8192))
            if not b: break
            ptr = self.buffer.tell()
            self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
        return self.buffer.read()
    def flush(self):
        if self.writable:
            os.write(self._fd, self.buffer.getvalue())
            self.buffer.truncate(0), self.buffer.seek(0)
class IOWrapper(IOBase):
    def __init__(self, file):
        self.buffer = FastIO(file)
        self.flush = self.buffer.flush
        self.writable = self.buffer.writable
        self.write = lambda s: self.buffer.write(s.encode("ascii"))
        self.read = lambda: self.buffer.read().decode("ascii")
sys.stdin, sys.stdout = IOWrapper(sys.stdin), IOWrapper(sys.stdout)
print(sum(map(int, sys.stdin.read().split()[1:4])))
""",
    "atexit": "import atexit\natexit.register(print, 6)",
    "thread": "import threading\nthreading.Thread(target=lambda: print(6)).start()",
    "thread that sleeps": "import threading as t, time\nt.Thread(target=lambda: (time.sleep(.1), print(6))).start()",
    "executor": "from concurrent.futures import ThreadPoolExecutor as T\nwith T(2) as t: print(sum(t.map(int, '123')))",
    "exit": "print(6)\nexit()",
    "quit": "print(6)\nquit(0)",
    "sys.exit": "import sys\nprint(6)\nsys.exit()",
    "exit in a function": "def main():\n  print(6)\n  raise SystemExit\nmain()",
    "main guard": "if __name__ == '__main__': print(6)",
    "deep recursion": """
import sys
sys.setrecursionlimit(10**6)
def f(n): return n and 1 + f(n - 1)
print(f(60000) // 10000)
""",
    "deep C recursion": """
import sys, functools
sys.setrecursionlimit(10**6)
@functools.lru_cache(None)
def f(n): return n and 1 + f(n - 1)
print(f(20000) * 3 // 10000)
""",
    "big thread stack": """
import sys, threading
sys.setrecursionlimit(10**6)
threading.stack_size(1 << 28)
def f(n): return n and 1 + f(n - 1)
t = threading.Thread(target=lambda: print(f(60000) // 10000)); t.start(); t.join()
""",
    "stack limit raised": "from resource import *\nsetrlimit(RLIMIT_STACK, getrlimit(RLIMIT_STACK)[1:] * 2)\nprint(6)",
    "pickled class": "import pickle\nclass A: x = 6\nprint(pickle.loads(pickle.dumps(A())).x)",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass A:\n  x: int = 6\nprint(A().x)",
    "main module": "import __main__\nx = 6\nprint(__main__.x)",
    "globals": "x = 6\nprint(globals()['x'])",
    "exec": "exec('x = 6')\nprint(x)",
    "future import": "from __future__ import annotations\ndef f(x: nothing): return 6\nprint(f(1))",
    "asyncio": "import asyncio\nasync def f(): await asyncio.sleep(0); return 6\nprint(asyncio.run(f()))",
    "signals": "from signal import *\nsignal(SIGALRM, lambda *_: print(6))\nsetitimer(0, .05)\npause()",
    "unicode": "s = 'ä€😀'\nprint(len(s) * 2)",
    "coding line": "# -*- coding: latin-1 -*-\ns = 'ä'\nprint(len(s) + 5)",
    "large integers": "n = int('6' * 100_000)\nprint(n % 10, file=None if len(str(n)) == 100_000 else 0)",
    "open('/dev/stdin')": "f = open('/dev/stdin')\nf.readline()\nprint(sum(map(int, f.readline().split())))",
    "stdin from /dev/fd/0": "import sys\nsys.stdin = open('/dev/fd/0')\ninput()\nprint(sum(map(int, input().split())))",
    "path of stdin": "from pathlib import Path\nprint(Path('/dev/stdin').read_text().count(' ') * 3)",
    "os.open('/proc/self/fd/0')": "import os\nprint(os.read(os.open('/proc/self/fd/0', 0), 9).count(b' ') * 3)",
    "fileinput": "import fileinput\nprint(len(list(fileinput.input('/dev/stdin'))) * 2)",
    "stdout from /dev/stdout": "import sys\nsys.stdout = open('/dev/stdout', 'w')\nprint(6)",
    "printed before /dev/stdout is opened": "print('', flush=True)\nopen(b'/dev/fd/1', 'wb').write(b'6')",
    "stderr from /dev/stderr": "print('note', file=open('/dev/stderr', 'w'))\nprint(6)",
    "ONLINE_JUDGE": "import os\nprint(6 if os.environ.get('ONLINE_JUDGE') else open('input.txt').read())",
    "heavy imports": "import decimal, fractions, statistics, random, datetime, typing, json, heapq\nprint(6)",
    "numbers in hashes": "import hashlib\nprint(len(hashlib.md5(b'').hexdigest()) - 26)",
    "logging": "import logging\nlogging.warning('to stderr')\nprint(6)",
    "stderr": "import sys\nprint('note', file=sys.stderr)\nprint(6)",
    "dev null": "open('/dev/null', 'w').write('x')\nprint(6)",
    "warning": "x = 6 if 1 is 1 else 7\nprint(x)",
    "line ends of Windows": "x = 6\r\nif x:\r\n  print(x)\r\n",
    "no blank at the end": "print(6, end='')",
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_is_accepted(judge, name):
    """Twice the same test, so that the program also goes through the quick pass."""
    program = HONEST[name]
    for tests in ([(INPUT, OUTPUT)], [(INPUT, OUTPUT)] * 3):
        verdict = judge.judge(program, stdio(*tests, time_limit=2.0))
        assert verdict.accepted, verdict.feedback


STACKS = {
    "one of 512 MB": (1, "512 << 20"),
    "one of 2 GB": (1, "2**31 - 2**20"),
    "fourteen of 128 MB": (14, "2**27"),
}


@pytest.mark.parametrize("name", STACKS)
def test_the_stack_of_a_thread_is_reserved_not_used(judge, name):
    count, size = STACKS[name]
    program = f"""
import sys, threading
sys.setrecursionlimit(10**6)
threading.stack_size({size})
def f(n): return n and 1 + f(n - 1)
def main(): done.append(f(20000))
done = []
threads = [threading.Thread(target=main) for _ in range({count})]
for t in threads: t.start()
for t in threads: t.join()
print(sum(done))
"""
    verdict = judge.judge(program, stdio(*[("", f"{count * 20000}\n")] * 2, time_limit=5.0, memory_limit=64))
    assert verdict.accepted, verdict.feedback


def test_the_judges_own_frames_are_in_no_traceback(judge):
    feedback = judge.judge("open('/dev/fd/7')", stdio(("", ""))).feedback
    assert feedback.endswith(
        """Traceback (most recent call last):
  File "program.py", line 1, in <module>
    open('/dev/fd/7')
FileNotFoundError: [Errno 2] No such file or directory: '/dev/fd/7'"""
    )


def test_an_input_ends_in_a_newline(judge):
    program = "import sys\nprint([line[-1] for line in sys.stdin] == ['\\n', '\\n'])"
    assert judge.judge(program, stdio(("1\n2", "True"))).accepted


def test_sets_iterate_in_the_same_order_every_time(judge):
    program = "print({'a', 'b', 'c', 'd', 'e'}, hash('x'))"
    seen = {judge.judge(f"{program}#{n}", stdio(("", "?"))).tests[0].got for n in range(4)}
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("program", "detail"),
    [
        ("import atexit\nprint(42)\natexit.register(exit, 1)", None),  # Python ignores the exit of a handler
        ("print(42)\nimport sys\nsys.exit(1)", "exit code 1"),
        ("print(42)\n1 / 0", "ZeroDivisionError: division by zero"),
        ("import os\nos.close(1)\nprint(42)", "exit code 120"),
        ("import sys\nsys.stdout.close()\nprint(42)", "ValueError: I/O operation on closed file."),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class E(Exception):\n  def __str__(self): 1 / 0\nraise E", "<exception str() failed>"),
    ],
)
def test_a_program_that_ends_badly_ends_badly_here(judge, program, detail):
    verdict = judge.judge(program, stdio(("", "42\n")))
    if detail is None:
        assert verdict.accepted
    else:
        assert verdict.error_type == "runtime_error"
        assert detail in verdict.tests[0].detail
