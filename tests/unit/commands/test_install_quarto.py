"""Test that Quarto is installed where possible; otherwise set-up continues and says so in one line."""

import re
from pathlib import Path

import pytest

from adapterbook.site import quarto as install
from tests.support.factory import PROJECT


def test_a_package_that_does_not_install_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed installation is reported in one line, without pip's output."""
    monkeypatch.setattr(install, "find_quarto", lambda: None)
    requirements = tmp_path / "requirements-quarto.txt"
    requirements.write_text("./no-such-folder\n", "utf-8")
    said: list[str] = []
    assert install.install_quarto(requirements, say=said.append) is False
    assert len(said) == 2
    assert "the embedded renderer makes the site" in said[1]
    assert "\n" not in said[1]


def test_a_package_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with another hash is refused, and the message says so."""
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
    """The requirements name one package, with its version and its hash."""
    lines = (PROJECT.root / "requirements-quarto.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) == 1
    assert re.fullmatch(r"quarto-cli==[\d.]+ --hash=sha256:[0-9a-f]{64}", pins[0])


def test_silence_is_waited_for_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that hangs is stopped, and set-up continues."""
    monkeypatch.setattr(install, "find_quarto", lambda: None)
    said: list[str] = []
    assert install.install_quarto(tmp_path / "none.txt", say=said.append, timeout_s=0.001) is False
    assert "was not reached" in said[-1]


def test_a_quarto_that_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed Quarto is not changed."""
    monkeypatch.setattr(install, "find_quarto", lambda: "/opt/quarto/bin/quarto")
    assert install.install_quarto(tmp_path / "none.txt", say=lambda text: None) is True
