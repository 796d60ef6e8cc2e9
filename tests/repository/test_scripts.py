"""Check the types in the scripts of the interactive pages with tsc, from their JSDoc, and lint them with Biome.

Node and its package manager are no part of set-up. Where they are missing, these tests are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.factory import PROJECT

TOOLS = PROJECT.root / "tests" / "scripts"
CHECKED = [folder for name in ("lab", "live") if (folder := PROJECT.report / "assets" / name).is_dir()]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of tsc and Biome; the versions of package-lock.json are installed if they are not there yet."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("no Node on this machine (Debian: apt install nodejs npm)")
    with FileLock(TOOLS / "node_modules.lock"):
        if not (TOOLS / "node_modules" / ".package-lock.json").is_file():
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=TOOLS, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode and any(
                word in done.stderr for word in ("ENOTFOUND", "ECONN", "ETIMEDOUT", "EAI_AGAIN")
            ):
                pytest.skip("the npm registry was not reached")
            assert done.returncode == 0, done.stderr
    return TOOLS / "node_modules" / ".bin"


def run(*command: str | Path) -> str:
    """Run a program in the project's folder; return all that it said, or nothing if it ended well."""
    done = subprocess.run(list(map(str, command)), cwd=PROJECT.root, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def test_types_agree(programs: Path) -> None:
    """Strict tsc finds nothing in the scripts; their JSDoc and tests/scripts/*.d.ts name the types."""
    assert run(programs / "tsc", "--project", TOOLS / "tsconfig.json") == ""


def test_nothing_to_lint(programs: Path) -> None:
    """Biome's recommended rules find nothing in the scripts."""
    assert CHECKED
    assert run(programs / "biome", "lint", "--error-on-warnings", f"--config-path={TOOLS}", *CHECKED) == ""


def test_a_wrong_type_is_found(programs: Path, tmp_path: Path) -> None:
    """The check can fail: a number where a text is due is an error."""
    script = tmp_path / "wrong.js"
    script.write_text("/** @param {string} text */\nfunction f(text) { return text; }\nf(1);\n", "utf-8")
    assert "TS2345" in run(programs / "tsc", "--allowJs", "--checkJs", "--noEmit", "--strict", script)
