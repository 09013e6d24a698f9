"""A worker's cage: memory, time and files are limited, and it starts nothing and calls nobody."""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any

from crossworld.serve.settings import Limits

DESCRIPTORS = 256
GRACE = 5  # CPU seconds between the warning and the end
ORPHANED = 70  # exit code of a worker whose server is gone
SYSTEM = ("/usr", "/lib", "/lib64", "/opt", "/proc", "/sys", "/dev", "/etc/localtime")
FORBIDDEN = (
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn",
    "os.spawn", "os.startfile", "pty.spawn", "socket.connect", "socket.bind", "socket.sendto",
    "socket.getaddrinfo", "ftplib.connect", "http.client.connect", "urllib.Request",
    "os.kill", "os.killpg",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod",
            "os.chown", "os.truncate", "shutil.rmtree")  # fmt: skip


def limit(limits: Limits, seconds: int) -> None:
    """Set the limits of the operating system on this process, for good."""
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_AS, limits.memory, limits.memory),
        (resource.RLIMIT_CPU, seconds, seconds + GRACE),
        (resource.RLIMIT_FSIZE, limits.output, limits.output),
        (resource.RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS),
    ):
        _, allowed = resource.getrlimit(kind)
        most = hard if allowed == resource.RLIM_INFINITY else min(hard, allowed)
        resource.setrlimit(kind, (min(soft, most), most))


def end_with(alive: int) -> None:
    """End this process when the server does, which alone holds the other end of a pipe."""

    def watch() -> None:
        while os.read(alive, 1):
            pass
        os._exit(ORPHANED)

    threading.Thread(target=watch, daemon=True).start()


def confine(folder: Path) -> None:
    """Refuse, from now on, what an analysis does not do.

    That is: to open files but those of the job's folder and of the installation, to write outside
    the folder, to start programs and to use the network. This stands behind the checks of the
    spec; it is no sandbox against machine code.
    """
    own = os.path.realpath(folder)
    cache = os.path.realpath(os.environ.get("MPLCONFIGDIR", own))
    writable = (own, cache, "/dev")
    installed = {os.path.realpath(p) for p in (*sys.path, sys.prefix, sys.base_prefix) if p}
    installed |= {os.path.realpath(p) for p in sysconfig.get_paths().values()}
    readable = (own, cache, *installed, *SYSTEM)

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = details
            if isinstance(path, str | bytes):
                writes = (flags or 0) & WRITING or set(mode or "") & set("wax+")
                _check(os.fsdecode(path), writable if writes else readable)
        elif event in FORBIDDEN:
            raise PermissionError(f"an analysis does not use {event}")
        elif event in CHANGING and isinstance(details[0], str | bytes | os.PathLike):
            _check(os.fsdecode(details[0]), writable)

    sys.addaudithook(hook)


def _check(path: str, allowed: tuple[str, ...]) -> None:
    real = os.path.realpath(path)
    if not any(real == root or real.startswith(f"{root}/") for root in allowed):
        raise PermissionError(f"an analysis does not open {path[:200]!r}")
