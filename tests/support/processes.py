"""Wait for events in other processes, and kill a program just before it writes a certain file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from tests.support.factory import PROJECT

# Python runs this file at its start. It tells each file of a folder that is opened for writing or renamed, before that
# happens, and sends a signal to the process group of the program's first process at one of these moments.
SITECUSTOMIZE: Final = """
import os, re, signal, sys

if "WATCHED_GROUP" not in os.environ:  # this is the first process
    os.environ["WATCHED_GROUP"] = str(os.getpgid(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in background
group = int(os.environ["WATCHED_GROUP"])
root, log, moment, number = (os.environ[f"WATCHED_{name}"] for name in ("ROOT", "LOG", "MOMENT", "SIGNAL"))

def watch(event, arguments):
    if event == "os.rename":
        path = arguments[1]
    elif event == "open" and not isinstance(arguments[0], int) and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
        path = arguments[0]
    else:
        return
    name = os.path.relpath(os.fsdecode(path), root)
    if name.startswith("..") or "__pycache__" in name:
        return
    with open(log, "ab", buffering=0) as file:
        file.write(f"{event} {name}\\n".encode("utf-8", "replace"))
    if moment.isdigit():
        with open(log, "rb") as file:
            reached = file.read().count(b"\\n") >= int(moment)
    else:
        reached = moment and re.fullmatch(moment, f"{event} {name}")
    if reached:
        try:
            os.close(os.open(f"{log}.sent", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return
        os.killpg(group, int(number))
        if int(number) == signal.SIGKILL:  # a kernel has a group of its own
            os.kill(os.getpid(), int(number))

sys.addaudithook(watch)
"""


@dataclass(frozen=True)
class Watched:
    """Hold a program that has ended.

    Attributes
    ----------
    moments : list of str
        What it was about to write, such as ``os.rename experiments/results/x``, in order.
    """

    returncode: int
    output: str
    moments: list[str]


def run_watched(
    root: Path, folder: Path, *arguments: str, moment: str | int = "", number: int = 0, **settings: str
) -> Watched:
    """Run Python in a separate process group, and send it a signal at a moment.

    Parameters
    ----------
    root : Path
        The folder that it runs in, and whose files are watched.
    folder : Path
        For what is needed beside it; outside of `root`.
    moment : str or int
        Pattern of the moment at which the signal is sent, or which moment it is, counted from 1; empty: no signal.
    """
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE, "utf-8")
    (folder / "log").touch()
    settings = {
        "PYTHONPATH": f"{folder}{os.pathsep}{PROJECT.root}",
        "WATCHED_ROOT": str(root),
        "WATCHED_LOG": str(folder / "log"),
        "WATCHED_MOMENT": str(moment),
        "WATCHED_SIGNAL": str(number),
    } | settings
    with (folder / "output").open("w+", encoding="utf-8") as output:  # a pipe would be kept open by kernels
        done = subprocess.run([sys.executable, *arguments], cwd=root, env=os.environ | settings, stdout=output,
                              stderr=subprocess.STDOUT, start_new_session=True, timeout=900, check=False)  # fmt: skip
    moments = (folder / "log").read_text("utf-8").splitlines()
    return Watched(done.returncode, (folder / "output").read_text("utf-8"), moments)


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait for an event while the process that it depends on lives; a busy machine takes its time."""
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.05)


def is_kernel(process: psutil.Process) -> bool:
    """Tell whether a process is a notebook's kernel; one that is gone is not."""
    try:
        return "ipykernel" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def kernels_of(pid: int | None = None) -> list[psutil.Process]:
    """Return the kernels that a process, or this one, has started."""
    return [child for child in psutil.Process(pid).children(recursive=True) if is_kernel(child)]
