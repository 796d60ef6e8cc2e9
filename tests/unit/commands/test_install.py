"""Install what the locks name, file by file."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from adapterbook.commands.install import DASK, DEV, LOCKS, PACKAGES, TORCH, check_locks, parse_pins
from adapterbook.common.errors import ConfigError
from tests.support.factory import PROJECT

# ---- the shipped locks


def test_every_requirement_is_locked() -> None:
    """Every requirement is locked at its version, torch in the lock of torch."""
    check_locks(PROJECT.root)
    assert "torch" in parse_pins((PROJECT.root / TORCH).read_text("utf-8"))
    assert "torch" not in parse_pins((PROJECT.root / PACKAGES).read_text("utf-8"))


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes_and_no_place(name: str) -> None:
    """Each entry has one sha256 or more, and no line names an index, a URL or a folder."""
    text = (PROJECT.root / name).read_text("utf-8")
    entry = r"[a-z0-9][a-z0-9._-]*==[^\s;]+(?: ; [^\\\n]+)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(rf"(?:#.*\n)*(?:{entry})+", text)


def test_a_package_has_one_version_in_all_locks() -> None:
    """The packages of the tests do not change the versions that the study runs on."""
    run, dask, dev = (parse_pins((PROJECT.root / name).read_text("utf-8")) for name in (PACKAGES, DASK, DEV))
    assert run.keys().isdisjoint(dask)
    assert all((run | dask)[name] == dev[name] for name in (run | dask).keys() & dev.keys())


# ---- a made-up project, its wheels in a folder, and a separate Python


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty virtual environment, and return its Python."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a project that requires `tiny`, `torch` and, for a cluster and its tests, `tinydask` and `tinytest`."""
    for name, version in (("tiny", "1.0"), ("torch", "2.0"), ("tinydask", "4.0"), ("tinytest", "3.0")):
        _write_wheel(tmp_path / "wheels", name, version)
    (tmp_path / "requirements.txt").write_text("tiny==1.0\ntorch==2.0  # exactly\n", "utf-8")
    (tmp_path / "requirements-dask.txt").write_text("tinydask==4.0\n", "utf-8")
    (tmp_path / "requirements-dev.txt").write_text("tinytest==3.0\n", "utf-8")
    (tmp_path / "locks").mkdir()
    locked = {PACKAGES: "tiny-1.0", TORCH: "torch-2.0", DASK: "tinydask-4.0", DEV: "tinytest-3.0"}
    for lock, name in locked.items():
        digest = hashlib.sha256((tmp_path / "wheels" / f"{name}-py3-none-any.whl").read_bytes()).hexdigest()
        (tmp_path / lock).write_text(f"{name.replace('-', '==')} \\\n    --hash=sha256:{digest}\n", "utf-8")
    return tmp_path


def _write_wheel(folder: Path, name: str, version: str, code: str = "") -> None:
    """Write a wheel with one module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        record += f"{path},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def _install(python: Path, root: Path, part: str = "run", **environment: str) -> subprocess.CompletedProcess[str]:
    """Install as the Makefile does, only from the folder of wheels, after removing what is installed."""
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(root / "wheels")}
    settings |= {"PYTHONPATH": str(PROJECT.root)} | environment
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    for folder in _distributions(python):
        shutil.rmtree(folder)
    return subprocess.run(
        [python, "-m", "adapterbook.commands.install", part],
        cwd=root, env=kept | settings, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def _distributions(python: Path) -> list[Path]:
    """Return the installed distributions that pip knows, except pip itself and its helpers."""
    folders = python.parents[1].glob("lib/python*/site-packages/*.dist-info")
    return [folder for folder in folders if not folder.name.startswith(("pip-", "setuptools-"))]


def _installed(python: Path) -> set[str]:
    """Return name==version of each package."""
    return {folder.name.removesuffix(".dist-info").replace("-", "==") for folder in _distributions(python)}


@pytest.mark.slow
def test_what_is_locked_is_installed(python: Path, root: Path) -> None:
    """Packages and torch are installed, and those of the tests or a cluster on request."""
    done = _install(python, root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _installed(python) == {"tiny==1.0", "torch==2.0"}
    assert _install(python, root, "dev").returncode == 0
    assert _installed(python) == {"tinytest==3.0"}
    assert _install(python, root, "dask").returncode == 0
    assert _installed(python) == {"tinydask==4.0"}


@pytest.mark.parametrize(("name", "version"), [("tiny", "1.0"), ("torch", "2.0")])
def test_another_file_is_refused(python: Path, root: Path, name: str, version: str) -> None:
    """A file with other bytes is not installed: pip says why, and we add one line."""
    _write_wheel(root / "wheels", name, version, code="raise SystemExit('tampered')")
    done = _install(python, root)
    assert done.returncode == 2
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert "A package's file is not in locks/" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(item.startswith(name) for item in _installed(python))
    trusted = _install(python, root, HASHES="no")
    assert trusted.returncode == 0, trusted.stderr
    assert _installed(python) == {"tiny==1.0", "torch==2.0"}


def test_a_torch_from_elsewhere_is_taken_by_its_version(python: Path, root: Path) -> None:
    """A local version such as 2.0+cpu has no hash to expect; everything else keeps its hashes."""
    _write_wheel(root / "wheels", "torch", "2.0+cpu")
    _write_wheel(root / "wheels", "torch", "2.1+cpu")
    done = _install(python, root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch 2.0+cpu is not the public index's build" in done.stdout
    assert _installed(python) == {"tiny==1.0", "torch==2.0+cpu"}
    _write_wheel(root / "wheels", "tiny", "1.0", code="raise SystemExit('tampered')")
    assert _install(python, root).returncode == 2


def test_a_package_that_is_nowhere_is_one_message(python: Path, root: Path) -> None:
    """If a package cannot be found, the message shows pip's own words and what to do, without a traceback."""
    (root / "wheels" / "tiny-1.0-py3-none-any.whl").unlink()
    done = _install(python, root)
    assert done.returncode == 2
    assert "pip could not install the packages" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_lock_behind_its_requirements_is_refused(root: Path) -> None:
    """Every package that differs is named, and so is a lock that is missing."""
    (root / "requirements.txt").write_text("tiny==1.1\ntorch==2.0\nother-package==1\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        check_locks(root)
    for part in ("make lock", "tiny==1.1, but locks/ has 1.0", "other-package==1, but locks/ has none"):
        assert part in str(caught.value)
    (root / DEV).unlink()
    with pytest.raises(ConfigError, match=r"locks/dev\.txt: not found"):
        check_locks(root)


def test_set_up_needs_nothing_but_python(python: Path) -> None:
    """The installer runs in an empty environment."""
    script = "import adapterbook.commands.install"
    environment = os.environ | {"PYTHONPATH": str(PROJECT.root)}
    assert subprocess.run([python, "-c", script], env=environment, check=False).returncode == 0
