"""What a program can reach in the sandbox. Each program prints what it could get hold of."""

import ctypes
import os
import subprocess
import sys

import pytest
from judged import ANSWER, stdio

from lib.judge import IsolationError, Judge


def landlock_version() -> int:
    return max(0, ctypes.CDLL(None).syscall(444, None, 0, 1))


def output(judge, program: str) -> str:
    """What the program prints, at most 300 characters."""
    verdict = judge.judge(program, stdio(("", "never this")))
    assert verdict.error_type == "wrong_answer", verdict.feedback
    return verdict.tests[0].got


def test_the_judge_says_what_isolates(judge):
    told = judge.isolation
    assert told.startswith("namespaces (user, mount, pid, network, ipc, uts), read-only root, no capabilities, seccomp")
    abi = landlock_version()
    assert (f"Landlock ABI {abi}" if abi else "Landlock not offered") in told
    assert told.endswith("started by root" if os.getuid() == 0 else "started by an ordinary user")


@pytest.mark.skipif(landlock_version() < 5, reason="this kernel's Landlock, if any, knows nothing of devices")
def test_landlock_stands_behind_the_namespaces(judge):
    program = "import fcntl\nfcntl.ioctl(open('/dev/null'), 0x5401)"  # without Landlock: no terminal
    assert judge.judge(program, ANSWER).tests[0].detail == "PermissionError: [Errno 13] Permission denied"


def test_no_file_of_the_project_or_the_user_can_be_read(judge):
    secrets = [__file__, "/etc/passwd", os.path.expanduser("~"), "/proc/self/status", "/sys", "/tmp", "/home"]
    program = f"import os\nprint([path for path in {secrets} if os.path.exists(path) and not os.path.islink(path)])"
    found = output(judge, program).strip()
    allowed = [path for path in secrets if sys.base_prefix.startswith(path + "/")]  # a Python below the home folder
    assert found == str(allowed)


def test_only_the_library_can_be_read(judge):
    program = """
import os
found = {f for top, folders, files in os.walk('/') for f in files}
ours = ('pyproject.toml', 'zygote.py', 'problems.py', '.ipynb', '.jsonl', '.xz', '.safetensors', '.bashrc')
print([f for f in found if f.endswith(ours) and f != 'testtar.tar.xz'])
print(any('site-packages' in top and (files or folders) for top, folders, files in os.walk('/')))
"""
    assert output(judge, program).split("\n")[:2] == ["[]", "False"]


def test_nothing_can_be_written(judge):
    program = """
import os, sys, tempfile
written = []
for folder in ['/', '/tmp', '/dev', '/dev/shm', '/var/tmp', os.path.dirname(os.__file__)]:
    try:
        open(folder + '/x', 'w')
        written.append(folder)
    except OSError:
        pass
print(written)
"""
    assert output(judge, program) == "[]\n"


def test_environment_names_and_rights_are_bare(judge):
    assert (
        output(judge, "import os, sys\nprint(dict(os.environ), sys.argv)")
        == "{'ONLINE_JUDGE': 'true'} ['program.py']\n"
    )
    assert output(judge, "import socket\nprint(socket.gethostname())") == "judge\n"
    program = "import ctypes\nprint(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))"  # PR_GET_NO_NEW_PRIVS
    assert output(judge, program) == "1\n"
    program = """
import ctypes, struct
header, data = ctypes.create_string_buffer(struct.pack('=Ii', 0x20080522, 0)), ctypes.create_string_buffer(24)
ctypes.CDLL(None).capget(header, data)
print(any(data.raw))
"""
    assert output(judge, program) == "False\n"


def test_other_processes_can_not_be_seen(judge):
    program = """
import os
seen = []
for pid in range(1, 1000):
    try:
        os.kill(pid, 0)
        seen.append(pid)
    except OSError:
        pass
print(os.getpid(), seen)
"""
    assert output(judge, program) in ("2 [2]\n", "3 [3]\n")


@pytest.mark.parametrize(
    "attempt",
    [
        "os.fork()",
        "os.forkpty()",
        "subprocess.run(['/bin/sh'])",
        "os.posix_spawn('/bin/sh', ['sh'], {})",
        "os.execv('/bin/sh', ['sh'])",
        "multiprocessing.Process(target=print).start()",
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "os.memfd_create('x')",
        "os.pidfd_open(1)",
        "os.chroot('/')",
        "os.mknod('/x')",
        "os.setuid(0)",
        "os.nice(-5)",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))",
        "resource.prlimit(1, resource.RLIMIT_CPU, (0, 0))",
        "os.kill(1, signal.SIGTERM)",
        "os.kill(0, signal.SIGTERM)",
        "os.kill(-1, signal.SIGTERM)",
        "os.killpg(0, signal.SIGTERM)",
    ],
)
def test_system_calls_that_a_program_has_no_business_with_fail(judge, attempt):
    program = f"""
import os, signal, socket, resource, subprocess, multiprocessing
try:
    {attempt}
    print('done')
except (OSError, ValueError) as error:
    print('refused')
"""
    assert output(judge, program) == "refused\n"


@pytest.mark.parametrize(
    "attempt",
    [
        "os.kill(os.getpid(), 9)",
        "os.kill(1, 9)",
        "os.kill(-1, 9)",
        "os.killpg(0, 9)",
        "signal.raise_signal(9)",
        "signal.pthread_kill(threading.get_ident(), 9)",
    ],
)
def test_who_asks_for_a_sigkill_ends_in_a_way_of_its_own(judge, attempt):
    """So that nobody can look like the victim of somebody outside."""
    verdict = judge.judge(f"import os, signal, threading\n{attempt}\nprint(42)", ANSWER)
    assert (verdict.error_type, verdict.tests[0].detail) == ("runtime_error", "killed by SIGSYS")


@pytest.mark.parametrize(
    "attempt",
    [
        "fcntl.fcntl(os.pipe()[0], 10, 9)",  # F_SETSIG
        "fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, 1)",
        "fcntl.ioctl(socket.socketpair()[0], 0x8901, struct.pack('i', 1))",  # FIOSETOWN
        "resource.setrlimit(resource.RLIMIT_CPU, (1, 1))",
    ],
)
def test_nor_can_a_sigkill_be_arranged(judge, attempt):
    program = f"""
import fcntl, os, resource, socket, struct
try:
    {attempt}
    print('done')
except (OSError, ValueError):
    print('refused')
"""
    assert output(judge, program) == "refused\n"


@pytest.mark.parametrize(
    "program",
    [
        "import signal\nsignal.signal(10, lambda *_: print(42))\nsignal.raise_signal(10)",
        "import os, signal\nsignal.signal(15, lambda *_: print(42))\nos.kill(os.getpid(), 15)",
        "import signal, time\nsignal.signal(14, lambda *_: print(42))\nsignal.setitimer(0, 0.02)\ntime.sleep(0.3)",
        "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))\nprint(42)",
        "import resource\nprint(42 * (resource.getrlimit(resource.RLIMIT_CPU)[0] > 0))",
    ],
)
def test_what_honest_programs_do_with_signals_and_limits_works(judge, program):
    assert judge.judge(program, ANSWER).accepted


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
@pytest.mark.parametrize(
    ("number", "name"),
    [
        *[(57, "fork"), (58, "vfork"), (435, "clone3"), (0x40000039, "x32 fork"), (101, "ptrace"), (165, "mount")],
        *[
            (222, "timer_create"),
            (160, "setrlimit of the CPU"),
            (272, "unshare"),
            (250, "keyctl"),
            (29, "shmget"),
            (425, "io_uring_setup"),
            (310, "process_vm_readv"),
        ],
    ],
)
def test_so_do_bare_system_calls(judge, number, name):
    program = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall({number}, 0, 0, 0, 0, 0), ctypes.get_errno() in (1, 11, 38))
"""
    assert output(judge, program) == "-1 True\n"


def test_a_machine_without_namespaces_is_told_what_to_do():
    """A worker whose user may make no more user namespaces, as in many containers."""
    command = """
import resource, sys
from lib.judge import IsolationError, Judge
try:
    Judge(workers=1)
except IsolationError as error:
    print(error)
"""
    limited = f"echo 0 > /proc/sys/user/max_user_namespaces; exec {sys.executable} -c '{command}'"
    try:
        done = subprocess.run(["unshare", "-Ur", "sh", "-c", limited], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no unshare command here")
    if "cannot create" in done.stderr:
        pytest.skip("max_user_namespaces can't be set here")
    assert "max_user_namespaces" in done.stdout, done.stderr
    assert 'Judge(isolation="none")' in done.stdout


def test_without_namespaces_only_when_asked_by_name():
    with pytest.raises(ValueError, match="namespaces, none"):
        Judge(isolation="nothing")
    with Judge(workers=1, isolation="none") as judge:
        assert "no namespaces" in judge.isolation
        landlock = bool(landlock_version())
        assert ("of files only the Python library" in judge.isolation) == landlock
        assert ("this user's files can be read" in judge.isolation) != landlock
        reading = judge.judge(f"print(open({__file__!r}).read(9) and 42)", ANSWER)
        assert reading.accepted != landlock
        for victim in (os.getpid(), os.getppid(), -1, 0):
            assert not judge.judge(f"import os\nos.kill({victim}, 9)\nprint(42)", ANSWER).accepted
        assert judge.judge("print(42)", ANSWER).accepted
        assert judge.judge("import os\nos.fork()", ANSWER).tests[0].detail == "process limit"
        assert judge.judge("while True: pass", ANSWER).error_type == "timeout"


def test_an_isolation_error_is_a_runtime_error():
    assert issubclass(IsolationError, RuntimeError)
