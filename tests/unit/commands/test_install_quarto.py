"""site/install.py: set-up goes on without Quarto, in one line."""

import re
from pathlib import Path

import pytest

from adapterbook.commands import install_quarto as install
from tests.support.factory import PROJECT


def test_a_package_that_does_not_install_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's output and its stack trace stay where they are."""
    monkeypatch.setattr(install, "find_quarto", lambda: None)
    requirements = tmp_path / "requirements-quarto.txt"
    requirements.write_text("./no-such-folder\n", "utf-8")
    said: list[str] = []
    assert install.install_quarto(requirements, say=said.append) is False
    assert len(said) == 2
    assert "the embedded renderer makes the site" in said[1]
    assert "\n" not in said[1]


def test_a_package_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And said to be that, and not a download that was not reached."""
    monkeypatch.setattr(install, "find_quarto", lambda: None)
    (tmp_path / "quarto_cli-1.0-py3-none-any.whl").write_bytes(b"another file")
    requirements = tmp_path / "requirements-quarto.txt"
    requirements.write_text(f"quarto-cli==1.0 --hash=sha256:{'0' * 64}\n", "utf-8")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    said: list[str] = []
    assert install.install_quarto(requirements, say=said.append) is False
    assert "not the file that requirements-quarto.txt names by its hash" in said[-1]


def test_the_package_is_named_by_its_hash() -> None:
    """Its one file; what it downloads is not known to anybody before."""
    lines = (PROJECT.root / "requirements-quarto.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) == 1
    assert re.fullmatch(r"quarto-cli==[\d.]+ --hash=sha256:[0-9a-f]{64}", pins[0])


def test_silence_is_waited_for_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall that drops packets does not stop set-up."""
    monkeypatch.setattr(install, "find_quarto", lambda: None)
    said: list[str] = []
    assert install.install_quarto(tmp_path / "none.txt", say=said.append, timeout_s=0.001) is False
    assert "was not reached" in said[-1]


def test_a_quarto_that_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed over it."""
    monkeypatch.setattr(install, "find_quarto", lambda: "/opt/quarto/bin/quarto")
    assert install.install_quarto(tmp_path / "none.txt", say=lambda text: None) is True
