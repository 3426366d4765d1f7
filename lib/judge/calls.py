"""System calls through ctypes: their numbers, and failures as OSError. Runs inside the worker process only."""

import ctypes
import os
import platform

# Numbers of the system calls by machine. Calls from 424 on have the same number everywhere.
_TABLES = {
    "x86_64": {
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "ptrace": 101, "process_vm_readv": 310,
        "process_vm_writev": 311, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272,
        "setns": 308, "socket": 41, "keyctl": 250, "add_key": 248, "request_key": 249, "shmget": 29, "semget": 64,
        "msgget": 68, "memfd_create": 319, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "kcmp": 312, "mq_open": 240, "timer_create": 222,
        "clone": 56, "prlimit64": 302, "setrlimit": 160, "seccomp": 317, "capset": 126, "fcntl": 72, "ioctl": 16,
        "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297,
    },
    "aarch64": {
        "execve": 221, "execveat": 281, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "mount": 40,
        "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268, "socket": 198, "keyctl": 219,
        "add_key": 217, "request_key": 218, "shmget": 194, "semget": 190, "msgget": 186, "memfd_create": 279,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "name_to_handle_at": 264, "open_by_handle_at": 265,
        "kcmp": 272, "mq_open": 180, "timer_create": 107, "clone": 220, "prlimit64": 261, "setrlimit": 164,
        "seccomp": 277, "capset": 91, "fcntl": 25, "ioctl": 29, "kill": 129, "tkill": 130, "tgkill": 131,
        "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240,
    },
}  # fmt: skip
_COMMON = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
    "memfd_secret": 447, "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
}  # fmt: skip
NUMBERS = _TABLES.get(platform.machine(), {}) and _TABLES[platform.machine()] | _COMMON

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(name: str, *arguments) -> int:
    """Calls a function of the C library. Raises OSError."""
    return _checked(name, getattr(libc, name)(*arguments))


def system_call(name: str, *arguments) -> int:
    """Makes a system call that the C library has no function for. Raises OSError."""
    return _checked(name, libc.syscall(*words(NUMBERS[name], *arguments)))


def words(*arguments) -> list:
    """Arguments of `libc.syscall`: integers as long as it takes them."""
    return [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]


def repeat(name: str, arguments: list) -> None:
    """Makes a system call whose `words`, number first, were made ready before: touches as little memory as it can."""
    if libc.syscall(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def prctl(option: int, value: int) -> None:
    call("prctl", option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)


def _checked(name: str, result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result
