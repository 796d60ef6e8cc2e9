"""Install into ``.venv`` exactly the files that ``locks/`` names by their sha256, and write the locks.

This runs before any package is installed, so it needs only Python and its pip. A file with another hash is refused, and
so is a lock that does not have the versions of the requirements.

::

    requirements.txt       what is asked for, by hand        locks/packages.txt   that and its dependencies
    requirements-dask.txt                                    locks/torch.txt      torch and its CUDA libraries
    requirements-dev.txt                                     locks/dask.txt       what a cluster needs in addition
                                                             locks/dev.txt        what the tests need in addition

torch is separate because a machine may take it from another index, as ``2.13.0+cpu`` and the like. The public index
accepts no such local version, so the label shows the origin, and the lock has no hash for it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from adapterbook.common.errors import AdapterBookError, ConfigError

PACKAGES, TORCH = "locks/packages.txt", "locks/torch.txt"
DASK, DEV = "locks/dask.txt", "locks/dev.txt"  # each in addition to those two
LOCKS = (PACKAGES, TORCH, DASK, DEV)
REQUIREMENTS = ("requirements.txt", "requirements-dask.txt", "requirements-dev.txt")
# Dependencies of torch alone, and only of the public index's builds for Linux.
TORCH_FAMILY = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
OLDEST_PYTHON = "3.11"
HEADER = "# Written by `make lock`. Each hash is a file that the public index holds for this version, any platform's.\n"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
ENTRY = r"^[^\s#].*\n(?: .*\n)*"
HASH_MISMATCH = "DO NOT MATCH THE HASHES"
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*==\s*([^\s;\\#]+)")


class InstallationError(AdapterBookError):
    """Report that the packages cannot be installed. Remedy: the network, the index, or the lock."""


def parse_pins(text: str) -> dict[str, str]:
    """Return the pinned version of each package of a requirements file, by its normalised name.

    Examples
    --------
    >>> parse_pins("# why\\nPyYAML==6.0.3  # reads\\ntriton==3.7.1 ; sys_platform == 'linux'\\n    --hash=sha256:00")
    {'pyyaml': '6.0.3', 'triton': '3.7.1'}
    """
    matches = (PIN.match(line) for line in text.splitlines())
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in matches if match}


def check_locks(root: Path) -> None:
    """Check that every requirement is locked at its version.

    Raises
    ------
    ConfigError
        If a lock file is missing or has other versions.
    """
    missing = [name for name in LOCKS if not (root / name).is_file()]
    if missing:
        problems = [f"{name}: not found; `make lock` writes it" for name in missing]
        raise ConfigError("The lock files are not complete:", problems)
    locked: dict[str, str] = {}
    for name in LOCKS:
        locked |= parse_pins((root / name).read_text("utf-8"))
    problems = [
        f"{file}: {package}=={version}, but locks/ has {locked.get(package, 'none')}"
        for file in REQUIREMENTS
        for package, version in parse_pins((root / file).read_text("utf-8")).items()
        if locked.get(package) != version
    ]
    if problems:
        raise ConfigError("The requirements and their locks disagree; `make lock` writes the locks again:", problems)


def install(root: Path, part: str = "run", *, check_hashes: bool = True) -> None:
    """Install what the lock files name into the Python that runs this.

    Parameters
    ----------
    root : Path
        The project's folder.
    part : str
        ``run``: what every run needs. ``dask``, ``dev``: what a cluster or the tests need in addition.
    check_hashes : bool
        False: take the pinned versions from any place where pip finds them.

    Raises
    ------
    ConfigError
        If the locks and the requirements disagree.
    InstallationError
        If pip fails: a file has another hash, is missing, or cannot be reached.
    """
    check_locks(root)
    if part != "run":
        _install_lock(root / {"dask": DASK, "dev": DEV}[part], check_hashes)
        return
    _install_lock(root / PACKAGES, check_hashes)
    version = parse_pins((root / TORCH).read_text("utf-8"))["torch"]
    taken = torch_to_be_taken(version)
    if "+" in taken:
        print(f"torch {taken} is not the public index's build: installed by version, without a hash.", flush=True)
        _pip("install", f"torch=={version}")
    else:
        _install_lock(root / TORCH, check_hashes)


def torch_to_be_taken(version: str) -> str:
    """Return the version, with its local label, of the build of torch that pip would take, such as ``2.13.0+cpu``."""
    done = subprocess.run([*PIP, "index", "versions", "torch"], capture_output=True, text=True, check=False)
    listed = re.search(r"Available versions: (.*)", done.stdout)
    builds = [build.strip() for build in listed[1].split(",")] if listed else []
    # pip lists the newest first, and prefers the build with a local label.
    return next((build for build in builds if build.split("+")[0] == version), version)


def _install_lock(lock: Path, check_hashes: bool) -> None:
    """Install a lock file. It is complete, so pip need not (and with hashes must not) add dependencies."""
    if check_hashes:
        _pip("install", "--no-deps", "--require-hashes", "-r", str(lock))
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / lock.name
        plain.write_text(re.sub(r" \\\n +--hash=\S+", "", lock.read_text("utf-8")), "utf-8")
        _pip("install", "--no-deps", "-r", str(plain))


def _pip(*arguments: str) -> None:
    """Run pip with its output on the terminal, and say what to do if it fails."""
    done = subprocess.run([*PIP, *arguments], stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    sys.stderr.flush()
    if done.returncode == 0:
        return
    if HASH_MISMATCH in done.stderr:
        raise InstallationError(
            "A package's file is not in locks/, and was not installed. `pip config list` says which index "
            "or folder it comes from; if you trust that, `make setup HASHES=no` takes it."
        )
    raise InstallationError("pip could not install the packages; its message is above. Mend that, then `make setup`.")


def write_locks(root: Path) -> None:
    """Resolve the requirements for every platform and Python from 3.11 on, and write ``locks/``; locked versions stay.

    Raises
    ------
    InstallationError
        If uv cannot be installed or finds no solution.
    """
    _install_uv(root)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # uv keeps the versions of an existing output file.
        known = "".join((root / lock).read_text("utf-8") for lock in LOCKS if (root / lock).is_file())
        for output in ("run.txt", "dask.txt", "all.txt"):
            (folder / output).write_text(known, "utf-8")
        inputs, same = [root / name for name in REQUIREMENTS], ("--constraint", str(folder / "all.txt"))
        everything = _compile(folder / "all.txt", inputs)
        run = _compile(folder / "run.txt", inputs[:1], *same)
        dask = _compile(folder / "dask.txt", inputs[:2], *same)
    (root / PACKAGES).parent.mkdir(exist_ok=True)
    for lock, chosen in (
        (PACKAGES, [entry for entry in run if not _is_torch(entry)]),
        (TORCH, [entry for entry in run if _is_torch(entry)]),
        (DASK, [entry for entry in dask if entry not in run]),
        (DEV, [entry for entry in everything if entry not in run]),
    ):
        (root / lock).write_text(HEADER + "".join(chosen), "utf-8")
        print(f"{lock}: {len(chosen)} packages")


def _install_uv(root: Path) -> None:
    """Install the locked uv alone, because the other packages may not be installable before `make lock`."""
    if importlib.util.find_spec("uv") is not None or not (root / DEV).is_file():
        return
    entries = re.findall(ENTRY, (root / DEV).read_text("utf-8"), re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "uv.txt"
        lock.write_text("".join(entry for entry in entries if "uv" in parse_pins(entry)), "utf-8")
        _install_lock(lock, check_hashes=True)


def _compile(output: Path, inputs: Sequence[Path], *options: str) -> list[str]:
    """Compile a lock with uv, and return its entries, each a package with its hashes."""
    # uv's settings on this machine and the address of its index must not reach the lock.
    command = [
        sys.executable, "-m", "uv", "--no-config", "pip", "compile", "--quiet", "--universal",
        "--python-version", OLDEST_PYTHON, "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url",
        "--output-file", str(output), *options, *map(str, inputs),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InstallationError(f"uv could not resolve the requirements:\n{done.stderr.strip()}")
    return re.findall(ENTRY, output.read_text("utf-8"), re.MULTILINE)


def _is_torch(entry: str) -> bool:
    return TORCH_FAMILY.fullmatch(next(iter(parse_pins(entry)))) is not None


def main(arguments: Sequence[str]) -> int:
    """Run ``python -m adapterbook.commands.install run|dask|dev|lock`` in a project; return the exit status."""
    try:
        if list(arguments) == ["lock"]:
            write_locks(Path.cwd())
        else:
            check_hashes = os.environ.get("HASHES", "yes") != "no"
            install(Path.cwd(), *arguments, check_hashes=check_hashes)
    except AdapterBookError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
