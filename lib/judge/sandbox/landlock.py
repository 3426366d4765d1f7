"""Landlock: a second wall behind the namespaces, and the only one around files where there are no namespaces.

A worker restricts itself once, before its first fork, so programs pay nothing for it. Files of the library can be
read, three devices read and written; nothing can be run, created, linked or removed; from ABI 4 on no TCP port can be
bound or reached, from ABI 6 on no signal or abstract socket reaches the outside.
https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import struct

import calls

_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 2, 4, 8, 1 << 14
_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: _TRUNCATE, 5: 1 << 15}  # to files, by the ABI that introduced them
_PORTS, _SCOPES = {4: 3}, {6: 3}  # TCP bind and connect; abstract sockets and signals
_VERSION, _PATH_BENEATH = 1, 1


def version() -> int:
    """The ABI that this kernel offers, 0 for none."""
    try:
        return calls.system_call("landlock_create_ruleset", None, 0, _VERSION)
    except OSError:
        return 0


def restrict(folders: list[str], devices: tuple[str, ...], listed: tuple[str, ...] = ()) -> int:
    """Restricts this process and its future children, for good; returns the ABI, 0 if there is none.

    `folders` may be read, `devices` used, the names in `listed` be read. Needs `isolation.prepare`. Raises OSError.
    """
    abi = version()
    if not abi:
        return 0
    files, ports, scopes = (sum(v for since, v in kind.items() if since <= abi) for kind in (_RIGHTS, _PORTS, _SCOPES))
    handled = struct.pack("=QQQ", files, ports, scopes)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    buffer = ctypes.create_string_buffer(handled, len(handled))
    rules = calls.system_call("landlock_create_ruleset", buffer, len(handled), 0)
    device_rights = (_READ_FILE | _WRITE_FILE | _TRUNCATE) & files
    for rights, paths in ((_READ_FILE | _READ_DIR, folders), (device_rights, devices), (_READ_DIR, listed)):
        for path in paths:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place), 12)
            calls.system_call("landlock_add_rule", rules, _PATH_BENEATH, rule, 0)
            os.close(place)
    calls.system_call("landlock_restrict_self", rules, 0)
    os.close(rules)
    return abi
