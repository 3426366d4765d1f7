"""The seccomp filter: which system calls the processes that run programs and tests may make.

It forbids new processes, exec, sockets and whatever else only an attack needs. Signals reach only their sender, and no
process can arrange for a SIGKILL: whoever asks for one, for any target, ends at once by SIGSYS. So a program that was
killed by SIGKILL without a limit being reached is a victim of something outside: a fault of the judge, never the
program's ending.

The filter is a binary search: the kernel tries it on every possible system call when it is installed.
"""

import ctypes
import errno
import os
import platform
import struct

import calls

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE_THREAD, _SIGKILL = 0x10000, 9
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_OWN_PID = 0xFFFFFFFF  # placeholder: each process puts its own id here
_RLIMIT_CPU, _RLIMIT_RTTIME = 0, 15  # these two end in a SIGKILL
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _FIOSETOWN, _SIOCSPGRP = 8, 10, 15, 0x8901, 0x8902  # signals from files
_LOAD, _EQUAL, _FROM, _HAS_BITS, _END = 0x20, 0x15, 0x35, 0x45, 0x06
_ACTIONS = {
    "kill": 0x80000000,
    "allow": 0x7FFF0000,
    "refuse": 0x50001,  # EPERM
    "not there": 0x50026,  # ENOSYS
    "too many": 0x5000B,  # EAGAIN, as if a limit of processes were reached
}
_FREE = {"seccomp", "capset"}  # with these, a process can only take from itself


def _argument(number: int, high: int = 0) -> tuple:
    """Loads the lower half of an argument, which is all that most calls look at."""
    return (_LOAD, 0, 0, 16 + 8 * number + 4 * high)


# A step: operation, where to go if the loaded word matches, where to go if not (a number of steps to skip, or the name
# of a rule), a value. A name in front of steps begins a rule.
_RULES = (
    *("threads only", _argument(0), (_HAS_BITS, "allow", "too many", _CLONE_THREAD)),
    *("signal in argument 1", _argument(1), (_EQUAL, "kill", "to itself", _SIGKILL)),
    *("signal in argument 2", _argument(2), (_EQUAL, "kill", "to itself", _SIGKILL)),
    *("to itself", _argument(0), (_EQUAL, "allow", "refuse", _OWN_PID)),
    *("own limits", _argument(0), (_EQUAL, 0, "refuse", 0), _argument(2), (_EQUAL, 0, 2, 0)),
    *(_argument(2, high=1), (_EQUAL, "allow", 0, 0)),  # reading limits is free, and so is lowering most of them
    *(_argument(1), (_EQUAL, "refuse", 0, _RLIMIT_CPU), (_EQUAL, "refuse", "allow", _RLIMIT_RTTIME)),
    *("limit", _argument(0), (_EQUAL, "refuse", 0, _RLIMIT_CPU), (_EQUAL, "refuse", "allow", _RLIMIT_RTTIME)),
    *("file", _argument(1), (_EQUAL, "refuse", 0, _F_SETOWN), (_EQUAL, "refuse", 0, _F_SETSIG)),
    (_EQUAL, "refuse", "allow", _F_SETOWN_EX),
    *("device", _argument(1), (_EQUAL, "refuse", 0, _FIOSETOWN), (_EQUAL, "refuse", "allow", _SIOCSPGRP)),
)
_RULE_OF = {
    **dict.fromkeys(calls.NUMBERS.keys() - _FREE, "refuse"),
    **dict.fromkeys({"fork", "vfork"} & calls.NUMBERS.keys(), "too many"),
    "clone": "threads only",
    "clone3": "not there",  # its flags lie in memory, which a filter can't read: glibc falls back to clone
    **dict.fromkeys(("kill", "tkill", "rt_sigqueueinfo"), "signal in argument 1"),
    **dict.fromkeys(("tgkill", "rt_tgsigqueueinfo"), "signal in argument 2"),
    "prlimit64": "own limits",
    "setrlimit": "limit",
    "fcntl": "file",
    "ioctl": "device",
}


def _filter() -> list[tuple]:
    starts = {0: "allow"}  # number of a system call -> the rule from there up to the next number
    for number, rule in sorted((calls.NUMBERS[name], rule) for name, rule in _RULE_OF.items()):
        starts |= {number: rule, number + 1: "allow"}
    starts[0x40000000] = "not there"  # the x32 variants of the x86-64 calls
    merged: list[tuple[int, str]] = []
    for number, rule in starts.items():
        if not merged or merged[-1][1] != rule:
            merged.append((number, rule))
    architecture, number = (_LOAD, 0, 0, 4), (_LOAD, 0, 0, 0)
    places, steps = {}, []
    for part in (
        *(architecture, (_EQUAL, 0, "kill", _AUDIT_ARCH[platform.machine()]), number, *_search(merged), *_RULES),
        *(part for name, action in _ACTIONS.items() for part in (name, (_END, 0, 0, action))),
    ):
        if isinstance(part, str):
            places[part] = len(steps)
        else:
            steps.append(part)
    return [
        (operation, *(places[go] - n - 1 if isinstance(go, str) else go for go in (yes, no)), value)
        for n, (operation, yes, no, value) in enumerate(steps)
    ]


def _search(starts: list[tuple[int, str]]) -> list[tuple]:
    """Steps that find the rule of the loaded number."""
    if len(starts) == 1:
        return []
    middle = len(starts) // 2
    below, above = _search(starts[:middle]), _search(starts[middle:])
    here = (_FROM, len(below) if above else starts[middle][1], 0 if below else starts[0][1], starts[middle][0])
    return [here, *below, *above]


_code = ctypes.create_string_buffer(0)  # these three are set by `prepare`: the filter, where the process's own id
_own_pid = memoryview(bytearray(4)).cast("I")  # stands in it, and the arguments of the call that installs it
_install: list = []


def prepare() -> None:
    """Builds the filter, before any fork: a child copies each page of memory that it touches. Raises OSError."""
    global _code, _own_pid
    if not calls.NUMBERS:
        raise OSError(f"no table of system calls for {platform.machine()}, only for {', '.join(_AUDIT_ARCH)}")
    steps = _filter()
    _code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps), 8 * len(steps))
    values = memoryview(_code).cast("B").cast("I")[1::2]
    _own_pid = values[next(n for n, step in enumerate(steps) if step[3] == _OWN_PID) :]
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(_code)))
    set_mode_filter, spec_allow = 1, 4  # without the flag, older kernels slow the process down by a mitigation
    _install[:] = calls.words(calls.NUMBERS["seccomp"], set_mode_filter, spec_allow, program)


def deny_system_calls() -> None:
    """Installs the filter on this process, for good. Needs `prepare` and `isolation.prepare`."""
    _own_pid[0] = os.getpid()
    try:
        calls.repeat("seccomp", _install)
    except OSError as error:
        if error.errno != errno.ENOSYS:  # valgrind, below a program whose cost is measured, knows only the older call
            raise
        calls.call("prctl", _PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), _install[3], *[ctypes.c_ulong(0)] * 2)
