"""The walls of the sandbox, built with system calls through ctypes.

The worker makes its namespaces itself instead of calling `unshare` or `bwrap`: the same few calls work as root and as
an ordinary user, no tool can be missing, and the Python to be isolated already runs, so that the new root needs only
the library, no interpreter. `landlock` and `seccomp` stand behind these walls.
"""

import ctypes
import errno
import os
import struct
import sysconfig

import calls
from calls import call, prctl, system_call

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
_CLONE_NEWUSER, CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 4096, 16384, 1 << 18, 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SIGKILL, _NOBODY = 9, 65534
_LIBRARY = os.path.realpath(sysconfig.get_path("stdlib"))
PACKAGES = "/packages"
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_no_capability: list = []  # arguments of the system call that gives up every capability, see `prepare`


def enter_namespaces() -> None:
    """Moves this process into new user, mount, pid, network, ipc and uts namespaces; its next child is process 1."""
    user, group = os.getuid(), os.getgid()
    call("unshare", _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWUSER | CLONE_NEWPID | _CLONE_NEWNET)
    maps = {"setgroups": "deny", "uid_map": f"{_NOBODY} {user} 1", "gid_map": f"{_NOBODY} {group} 1"}
    for name, text in maps.items():
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    call("sethostname", b"judge", 5)


def new_pid_namespace(current: int) -> None:
    """Makes the next child process 1 of a new pid namespace. `current`: descriptor of this process's pid namespace."""
    enter_pid_namespace(current)  # undoes the unshare for the previous child, else the kernel refuses another
    call("unshare", CLONE_NEWPID)


def enter_pid_namespace(descriptor: int) -> None:
    """Has the next children of this process begin in this pid namespace."""
    call("setns", descriptor, CLONE_NEWPID)


def die_with_parent() -> None:
    """Has the kernel kill this process when the thread that forked it ends."""
    prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def hide_memory() -> None:
    """Forbids processes of the same user to trace or dump this process and its future children."""
    prctl(_PR_SET_DUMPABLE, 0)


def library_folders() -> list[str]:
    """The standard library, and the folders of the shared libraries that this Python has mapped."""
    with open("/proc/self/maps") as file:
        paths = [line.split(maxsplit=5)[5].strip() for line in file if line.count("/")]
    folders = sorted({_LIBRARY, *(os.path.dirname(path) for path in paths if ".so" in os.path.basename(path))})
    outermost: list[str] = []
    for folder in folders:
        if not any(folder.startswith(outer + "/") for outer in outermost):
            outermost.append(folder)
    return outermost


def replace_root(folders: list[str], packages: list[str]) -> None:
    """Replaces the file system by an empty read-only root with these folders, three devices and in PACKAGES these
    packages. There is no /proc, no /tmp, no site-packages, nothing of the project or the user. Needs
    `enter_namespaces`."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("judge", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    os.mkdir("/tmp/.old")
    system_call("pivot_root", b"/tmp", b"/tmp/.old")
    os.chdir("/")
    for folder in folders:
        os.makedirs(folder)
        _mount("/.old" + folder, folder, None, _MS_BIND | _MS_REC)
    for installed in ("site-packages", "dist-packages"):
        if os.path.isdir(f"{_LIBRARY}/{installed}"):
            _mount("judge", f"{_LIBRARY}/{installed}", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=4k,mode=755")
    if packages:
        os.mkdir(PACKAGES)
    offered = [f"{PACKAGES}/{os.path.basename(package)}" for package in packages]
    for package, place in zip(packages, offered, strict=True):
        source = "/.old" + package
        os.mkdir(place) if os.path.isdir(source) else os.close(os.open(place, os.O_CREAT | os.O_WRONLY))
        _mount(source, place, None, _MS_BIND | _MS_REC)
    os.mkdir("/dev")
    for device in DEVICES:
        os.close(os.open(device, os.O_CREAT | os.O_WRONLY))
        _mount("/.old" + device, device, None, _MS_BIND)
    call("umount2", b"/.old", _MNT_DETACH)
    os.rmdir("/.old")
    _make_read_only(["/", *folders, *offered])


def _make_read_only(places: list[str]) -> None:
    """Makes all mounts read-only, without set-user-id programs. Devices stay usable: nodev would turn them off."""
    # mount_setattr rather than remounts: it also reaches what is mounted below these places.
    attributes = ctypes.create_string_buffer(struct.pack("=QQQQ", 1 | 2, 0, 0, 0))  # read-only, nosuid
    at_fdcwd, at_recursive = -100, 0x8000
    try:
        system_call("mount_setattr", at_fdcwd, b"/", at_recursive, attributes, 32)
    except OSError as error:
        if error.errno != errno.ENOSYS:  # an older kernel, or valgrind between this process and the kernel
            raise
        for place in places:  # nodev and noexec stay as they are: a user namespace may not clear them
            kept = os.statvfs(place).f_flag & (_MS_NODEV | _MS_NOEXEC)
            _mount(None, place, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | kept)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [text if text is None else os.fsencode(text) for text in (source, target, kind)]
    try:
        call("mount", *texts, ctypes.c_ulong(flags), None if options is None else options.encode())
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} ({kind or 'bind'} on {target})") from None


def prepare() -> None:
    """Sets no_new_privs, and prepares what `drop_privileges` does in a forked child."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    version_3, this_process = 0x20080522, 0
    header = ctypes.create_string_buffer(struct.pack("=Ii", version_3, this_process))
    _no_capability[:] = calls.words(calls.NUMBERS["capset"], header, ctypes.create_string_buffer(24))  # all bits zero


def drop_privileges() -> None:
    """Gives up every capability, for good. Needs `prepare`."""
    calls.repeat("capset", _no_capability)
