#!/usr/bin/env python3
"""Runs a program under a container's seccomp profile, without a container.

    under_seccomp.py PROFILE.json PROGRAM [ARGUMENT]...

What the profile does not allow ends the program with SIGSYS, instead of the profile's own answer,
so that nothing passes unseen. Reads only what seccomp.json here uses: lists of names to allow.
Numbers come from the C compiler's headers, so it is right on any architecture Linux runs on.
"""

import ctypes
import json
import os
import platform
import re
import struct
import subprocess
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def numbers():
    """The system calls of this machine: number by name."""
    headers = subprocess.run(
        ["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"],
        capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^#define __NR_(\w+) (\d+)$", headers, re.MULTILINE)
    return {name: int(number) for name, number in found}


def allowed(path):
    with open(path, encoding="utf-8") as file:
        profile = json.load(file)
    for group in profile["syscalls"]:
        assert group["action"] == "SCMP_ACT_ALLOW" and "args" not in group, group
    return [name for group in profile["syscalls"] for name in group["names"]]


def filter_of(names):
    """A filter that allows these calls, as bytes of struct sock_filter."""
    known = numbers()
    calls = sorted({known[name] for name in names if name in known})
    program = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, AUDIT_ARCH[platform.machine()]),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, 0),
    ]
    for call in calls:
        program += [(EQUAL, 0, 1, call), (RETURN, 0, 0, ALLOW)]
    program.append((RETURN, 0, 0, KILL_PROCESS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    code = filter_of(allowed(sys.argv[1]))
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    program = Program(len(code) // 8, ctypes.addressof(buffer))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit("no_new_privs was refused")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        sys.exit(f"the filter was refused: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[2], sys.argv[2:])


main()
