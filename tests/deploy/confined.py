"""Runs a command as a pod of the chart does: as process 1 and user 10001, with one writable
directory, without capabilities, under a filter of system calls that refuses what the container
runtimes' default profile refuses.

usage: confined.py PLACE COMMAND...     PLACE/data becomes the one writable directory; wants root and the right to mount

Exit code 77: this machine does not let us.
"""

import ctypes
import errno
import os
import struct
import sys

USER = 10001
libc = ctypes.CDLL(None, use_errno=True)
NEW_MOUNTS, NEW_PROCESSES = 0x00020000, 0x20000000
READ_ONLY, REMOUNT, BIND, PRIVATE = 1, 32, 4096, 16384 | 1 << 18
DIE_WITH_PARENT, BOUNDING_DROP, NO_NEW_PRIVILEGES, SET_FILTER = 1, 24, 38, 22
# Of x86-64: what the default profiles of containerd, Docker and CRI-O leave out for processes
# without capabilities.
REFUSED = {
    "unshare": 272,
    "setns": 308,
    "mount": 165,
    "umount2": 166,
    "pivot_root": 155,
    "chroot": 161,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "bpf": 321,
    "perf_event_open": 298,
    "userfaultfd": 323,
    "keyctl": 250,
    "add_key": 248,
    "request_key": 249,
    "kexec_load": 246,
    "init_module": 175,
    "finit_module": 313,
    "delete_module": 176,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_by_handle_at": 304,
    "quotactl": 179,
    "swapon": 167,
    "reboot": 169,
    "settimeofday": 164,
    "clock_settime": 227,
    "sethostname": 170,
    "acct": 163,
    "iopl": 172,
    "ioperm": 173,
    "fanotify_init": 300,
    "mbind": 237,
    "set_mempolicy": 238,
    "move_pages": 279,
    "syslog": 103,
}
CLONE, CLONE3, NAMESPACE_FLAGS = 56, 435, 0x7E020000


def check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source, target, kind, flags, options=None):
    encode = lambda text: text.encode() if text else None
    check(
        libc.mount(
            encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(options)
        ),
        target,
    )


def read_only_but(writable):
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4].encode().decode("unicode_escape") for line in file]
    for point in points:
        if point == writable or point.startswith(("/proc", "/dev", "/sys")):
            continue
        try:
            mount(None, point, None, REMOUNT | BIND | READ_ONLY)
        except OSError as problem:
            if problem.errno not in (
                errno.ENOENT,
                errno.EINVAL,
                errno.EACCES,
            ):  # hidden below another one
                raise


def filter_program():
    step = lambda code, yes, no, value: struct.pack("HBBI", code, yes, no, value)
    load, equal, bits, answer = 0x20, 0x15, 0x45, 0x06
    refuse, allow = 0x00050000 | errno.EPERM, 0x7FFF0000
    out = [
        step(load, 0, 0, 0),
        step(equal, 0, 1, CLONE3),
        step(answer, 0, 0, 0x00050000 | errno.ENOSYS),
    ]
    for number in sorted(REFUSED.values()):
        out += [step(equal, 0, 1, number), step(answer, 0, 0, refuse)]
    out += [
        step(equal, 0, 3, CLONE),
        step(load, 0, 0, 16),
        step(bits, 0, 1, NAMESPACE_FLAGS),
        step(answer, 0, 0, refuse),
    ]
    out.append(step(answer, 0, 0, allow))
    return b"".join(out)


def drop_everything():
    for capability in range(64):
        libc.prctl(BOUNDING_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    check(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    code = filter_program()
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    check(
        libc.prctl(SET_FILTER, 2, ctypes.create_string_buffer(program, len(program)), 0, 0),
        "filter",
    )


def main():
    place, command = sys.argv[1], sys.argv[2:]
    try:
        check(libc.unshare(NEW_MOUNTS | NEW_PROCESSES), "unshare")
        mount(None, "/", None, PRIVATE)
        mount("none", f"{place}/data", "tmpfs", 0, f"size=256m,mode=0700,uid={USER},gid={USER}")
    except OSError as problem:
        print(f"cannot confine a process here: {problem}", file=sys.stderr)
        return 77
    child = os.fork()
    if child == 0:
        libc.prctl(DIE_WITH_PARENT, 9, 0, 0, 0)
        mount("proc", "/proc", "proc", 0)
        read_only_but(f"{place}/data")
        drop_everything()
        os.chdir("/")
        os.execv(command[0], command)
    print(f"pid={child}", file=sys.stderr, flush=True)  # as this side of the namespace knows it
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
