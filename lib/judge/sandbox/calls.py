"""System calls through ctypes: their numbers, and failures as OSError."""

import ctypes
import os
import platform

# Numbers of the system calls on x86-64 and aarch64. Calls from 424 on have the same number everywhere.
_NUMBERS = {
    "fork": (57, 0), "vfork": (58, 0), "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268), "socket": (41, 198),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "memfd_create": (319, 279), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "kcmp": (312, 272),
    "mq_open": (240, 180), "timer_create": (222, 107), "clone": (56, 220), "prlimit64": (302, 261),
    "setrlimit": (160, 164), "seccomp": (317, 277), "capset": (126, 91), "fcntl": (72, 25), "ioctl": (16, 29),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
_COMMON = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
    "memfd_secret": 447, "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
}  # fmt: skip
MACHINES = ("x86_64", "aarch64")
NUMBERS = {}  # of this machine; empty for one that is not in the table
if platform.machine() in MACHINES:
    _column = MACHINES.index(platform.machine())
    NUMBERS = {name: both[_column] for name, both in _NUMBERS.items() if both[_column]} | _COMMON

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(name: str, *arguments) -> int:
    """Calls a function of the C library. Raises OSError."""
    return _checked(name, getattr(libc, name)(*arguments))


def system_call(name: str, *arguments) -> int:
    """Makes a system call for which the C library has no function. Raises OSError."""
    return _checked(name, libc.syscall(*words(NUMBERS[name], *arguments)))


def words(*arguments) -> list:
    """Arguments of `libc.syscall`: integers as machine words."""
    return [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]


def repeat(name: str, arguments: list) -> None:
    """Makes a system call whose `words`, number first, were prepared earlier: touches as little memory as it can."""
    if libc.syscall(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def prctl(option: int, value: int) -> None:
    call("prctl", option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)


def _checked(name: str, result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result
