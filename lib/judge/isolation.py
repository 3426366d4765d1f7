"""The walls of the sandbox, made with system calls through ctypes. Runs inside the worker process only.

Namespaces are made by the worker itself rather than by `unshare` or `bwrap`: the same few calls work as root and as an
ordinary user, there is no tool to be missing or of another version, and the Python that is to be isolated is the one
that runs already, so that the new root needs no interpreter in it, only the library.

1. `enter_namespaces`: user, mount, pid, network, ipc and uts namespaces of its own.
2. `replace_root`: an empty read-only root with the standard library, the folders of the shared libraries that Python
   has mapped, and three harmless devices. No /proc, no /tmp, no site-packages, nothing of the project or the user.
3. `drop_privileges`: no capabilities.
4. `deny_system_calls`: the seccomp filter of the process that runs a program: no new process, no exec, no socket, ...

Steps 3 and 4 run in forked children, where each page of memory that is touched first has to be copied: `prepare` makes
their arguments ready once.
"""

import ctypes
import errno
import os
import platform
import struct
import sysconfig

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
_CLONE_NEWUSER, CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 4096, 16384, 1 << 18, 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SIGKILL = 9
_NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(name: str, *arguments) -> int:
    result = getattr(_libc, name)(*arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def _syscall(name: str, number: int, *arguments) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def _prctl(option: int, value: int) -> None:
    _call("prctl", option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3)


def enter_namespaces() -> None:
    """Moves this process into its own namespaces; a child forked next is process 1 of the pid namespace."""
    user, group = os.getuid(), os.getgid()
    everything = _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWUSER | CLONE_NEWPID | _CLONE_NEWNET
    _call("unshare", everything)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_NOBODY} {user} 1"),
        ("gid_map", f"{_NOBODY} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _call("sethostname", b"judge", 5)


def new_pid_namespace(own: int) -> None:
    """The next child is process 1 of a fresh pid namespace. `own`: descriptor of this process's own pid namespace."""
    _call("setns", own, CLONE_NEWPID)  # undoes the unshare for the child before, else the kernel refuses another
    _call("unshare", CLONE_NEWPID)


def die_with_parent() -> None:
    """Has the kernel kill this process when the thread that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def hide_memory() -> None:
    """No process of the same user may trace or dump this one or its future children."""
    _prctl(_PR_SET_DUMPABLE, 0)


def replace_root() -> None:
    """Leaves the file system for an empty read-only one with what Python needs. Needs `enter_namespaces`."""
    library = os.path.realpath(sysconfig.get_path("stdlib"))
    folders = _outermost({library, *_library_folders()})
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("judge", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    os.mkdir("/tmp/.old")
    _syscall("pivot_root", _NUMBERS["pivot_root"], b"/tmp", b"/tmp/.old")
    os.chdir("/")
    for folder in folders:
        os.makedirs(folder)
        _mount("/.old" + folder, folder, None, _MS_BIND | _MS_REC)
    for packages in ("site-packages", "dist-packages"):
        if os.path.isdir(f"{library}/{packages}"):
            _mount("judge", f"{library}/{packages}", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=4k,mode=755")
    os.mkdir("/dev")
    for device in ("/dev/null", "/dev/zero", "/dev/urandom"):
        os.close(os.open(device, os.O_CREAT | os.O_WRONLY))
        _mount("/.old" + device, device, None, _MS_BIND)
    _call("umount2", b"/.old", _MNT_DETACH)
    os.rmdir("/.old")
    _make_read_only(["/", *folders])


def _make_read_only(places: list[str]) -> None:
    """Read-only, without set-user-id programs. Devices stay usable: nodev would turn them off."""
    # mount_setattr rather than remounts: it reaches also what is mounted below these places.
    attributes = ctypes.create_string_buffer(struct.pack("=QQQQ", 1 | 2, 0, 0, 0))  # read-only, nosuid
    at_fdcwd, at_recursive = -100, 0x8000
    try:
        _syscall("mount_setattr", 442, at_fdcwd, b"/", at_recursive, attributes, 32)
    except OSError as error:
        if error.errno != errno.ENOSYS:  # an older kernel, or valgrind between this process and the kernel
            raise
        for place in places:  # nodev and noexec stay as they are: a user namespace may not clear them
            kept = os.statvfs(place).f_flag & (_MS_NODEV | _MS_NOEXEC)
            _mount(None, place, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | kept)


def _library_folders() -> set[str]:
    with open("/proc/self/maps") as file:
        paths = [line.split(maxsplit=5)[5].strip() for line in file if line.count("/")]
    return {os.path.dirname(path) for path in paths if ".so" in os.path.basename(path)}


def _outermost(folders: set[str]) -> list[str]:
    kept: list[str] = []
    for folder in sorted(folders):
        if not any(folder == k or folder.startswith(k + "/") for k in kept):
            kept.append(folder)
    return kept


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [text if text is None else os.fsencode(text) for text in (source, target, kind)]
    try:
        _call("mount", *texts, ctypes.c_ulong(flags), None if options is None else options.encode())
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} ({kind or 'bind'} on {target})") from None


def drop_privileges() -> None:
    """Gives up every capability, for good. Needs `prepare`."""
    _ready("capset", _capset)


# Numbers of the system calls by machine. Calls from 424 on have the same number everywhere.
_TABLES = {
    "x86_64": {
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "ptrace": 101, "process_vm_readv": 310,
        "process_vm_writev": 311, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272,
        "setns": 308, "socket": 41, "keyctl": 250, "add_key": 248, "request_key": 249, "shmget": 29, "semget": 64,
        "msgget": 68, "memfd_create": 319, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "kcmp": 312, "mq_open": 240, "clone": 56,
        "prlimit64": 302, "seccomp": 317, "capset": 126,
    },
    "aarch64": {
        "execve": 221, "execveat": 281, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "mount": 40,
        "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268, "socket": 198, "keyctl": 219,
        "add_key": 217, "request_key": 218, "shmget": 194, "semget": 190, "msgget": 186, "memfd_create": 279,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "name_to_handle_at": 264, "open_by_handle_at": 265,
        "kcmp": 272, "mq_open": 180, "clone": 220, "prlimit64": 261, "seccomp": 277, "capset": 91,
    },
}  # fmt: skip
_COMMON = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "memfd_secret": 447,
}  # fmt: skip
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBERS = _TABLES.get(platform.machine(), {})
_CLONE3, _CLONE_THREAD = 435, 0x10000
_KILL, _ALLOW, _EPERM, _ENOSYS = 0x80000000, 0x7FFF0000, 0x50001, 0x50026


def _filter() -> bytes:
    load, equal, at_least, has_bits, give = 0x20, 0x15, 0x35, 0x45, 0x06
    steps = [
        (load, 0, 0, 4),  # the architecture of the call
        (equal, 1, 0, _AUDIT_ARCH[platform.machine()]),
        (give, 0, 0, _KILL),
        (load, 0, 0, 0),  # its number
        (at_least, 0, 1, 0x40000000),  # the x32 twins of the x86-64 calls
        (give, 0, 0, _ENOSYS),
        (equal, 0, 1, _CLONE3),  # its flags lie in memory, where a filter can't look: glibc falls back to clone
        (give, 0, 0, _ENOSYS),
    ]
    for name, number in (_NUMBERS | _COMMON).items():
        if name not in ("clone", "prlimit64", "seccomp", "capset"):
            steps += [(equal, 0, 1, number), (give, 0, 0, _EPERM)]
    first_argument = 16
    steps += [
        (equal, 0, 4, _NUMBERS["prlimit64"]),
        (load, 0, 0, first_argument),  # a process id: its own limits a program may lower, those of process 1 it may not
        (equal, 0, 1, 0),
        (give, 0, 0, _ALLOW),
        (give, 0, 0, _EPERM),
        (equal, 0, 4, _NUMBERS["clone"]),
        (load, 0, 0, first_argument),  # flags: threads may be made, processes not
        (has_bits, 0, 1, _CLONE_THREAD),
        (give, 0, 0, _ALLOW),
        (give, 0, 0, _EPERM),
        (give, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def prepare() -> None:
    """Sets no_new_privs and builds what `drop_privileges` and `deny_system_calls` need. Raises OSError."""
    global _code, _capset, _seccomp
    if not _NUMBERS:
        raise OSError(f"no table of system calls for {platform.machine()}, only for {', '.join(_TABLES)}")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    version_3, this_process = 0x20080522, 0
    header = ctypes.create_string_buffer(struct.pack("=Ii", version_3, this_process))
    _capset = (ctypes.c_long(_NUMBERS["capset"]), header, ctypes.create_string_buffer(24))  # all bits zero
    _code = ctypes.create_string_buffer(_filter(), len(_filter()))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(_code) // 8, ctypes.addressof(_code)))
    set_mode_filter, spec_allow = 1, 4  # without the flag, older kernels slow the process down by a mitigation
    _seccomp = (*map(ctypes.c_long, (_NUMBERS["seccomp"], set_mode_filter, spec_allow)), program)


def deny_system_calls() -> None:
    """Installs the filter on this process, for good. Needs `prepare`."""
    try:
        _ready("seccomp", _seccomp)
    except OSError as error:
        if error.errno != errno.ENOSYS:  # valgrind knows only the older call
            raise
        mode_filter = 2
        _call("prctl", _PR_SET_SECCOMP, ctypes.c_ulong(mode_filter), _seccomp[3], *[ctypes.c_ulong(0)] * 2)


def _ready(name: str, arguments: tuple) -> None:
    if _libc.syscall(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)
