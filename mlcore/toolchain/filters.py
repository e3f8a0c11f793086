"""A filter of system calls for code of strangers, as the kernel takes it: classic BPF over seccomp's data.

What is refused is nothing that a program for physics asks for: namespaces, mounts, tracing, kernel modules, keys, clocks, BPF,
io_uring. Where the processor is of another kind than these two there is no filter; the other walls hold without it.
"""

from __future__ import annotations

import errno
import platform
import struct

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # places in seccomp's data
_NEW_NAMESPACES = 0x7E020000  # flags of clone
_X32 = 0x40000000  # the other numbering of x86-64's calls

# acct, add_key, bpf, chroot, clock_settime, delete_module, finit_module, fsmount, fsopen, init_module, io_uring_*, kexec_load,
# keyctl, mount, mount_setattr, move_mount, name_to_handle_at, open_by_handle_at, open_tree, perf_event_open, pivot_root,
# process_vm_*, ptrace, quotactl, reboot, request_key, setns, settimeofday, swapon, umount2, unshare, userfaultfd
_SHARED = (425, 426, 427, 428, 429, 430, 432, 442)
_REFUSED = {
    "x86_64": (
        *(163, 248, 321, 161, 227, 176, 313, 175, 246, 250, 165, 303, 304, 298, 155, 310, 311, 101, 179, 169, 249, 308, 164),
        *(167, 166, 272, 323, *_SHARED),
    ),
    "aarch64": (
        *(89, 217, 280, 51, 112, 106, 273, 105, 104, 219, 40, 264, 265, 241, 41, 270, 271, 117, 60, 142, 218, 268, 170),
        *(224, 39, 97, 282, *_SHARED),
    ),
}
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435  # its flags lie in memory, where a filter cannot look; programs fall back to clone


def for_strangers(machine: str = "") -> bytes:
    """The filter for this machine's processor, empty where there is none.

    >>> len(for_strangers("x86_64")) % 8, for_strangers("riscv64")
    (0, b'')
    """
    machine = machine or platform.machine()
    if machine not in _AUDIT:
        return b""
    refuse = [_refuse(_EQUAL, number, errno.EPERM) for number in _REFUSED[machine]]
    program = [
        _step(_LOAD, _ARCHITECTURE),
        *_refuse_unless(_AUDIT[machine]),
        _step(_LOAD, _NUMBER),
        *(_refuse(_AT_LEAST, _X32, errno.ENOSYS) if machine == "x86_64" else ()),
        *(step for pair in refuse for step in pair),
        *_refuse(_EQUAL, _CLONE3, errno.ENOSYS),
        _step(_EQUAL, _CLONE[machine], 1, 0),
        _step(_RETURN, _ALLOW),
        _step(_LOAD, _FIRST_ARGUMENT),
        *_refuse(_ANY_BIT, _NEW_NAMESPACES, errno.EPERM),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(program)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(code: int, value: int, number: int) -> tuple[bytes, bytes]:
    """Return an error where the comparison holds, else go on."""
    return _step(code, value, 0, 1), _step(_RETURN, _ERRNO | number)


def _refuse_unless(architecture: int) -> tuple[bytes, bytes]:
    return _step(_EQUAL, architecture, 1, 0), _step(_RETURN, _ERRNO | errno.ENOSYS)
