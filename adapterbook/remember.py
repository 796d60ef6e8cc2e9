"""Where the steps of a report keep what they made before, and what makes all of it worthless.

Owns the folders of the project's cache that hold those entries, one a step, and the stamp of our own code and of the
packages behind it: after a change in either nothing made before is used. What an entry is made from besides is the
business of the step that makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from adapterbook.memo import Memo, fingerprint

__all__ = ["Step", "open_memo"]

Step = Literal["analysis", "figures", "pages"]
HERE: Final = Path(__file__).parent
# By step: the modules and packages of ours that decide on an entry's value, and the distributions that they go through.
# A test compares the modules with what is imported.
CODE: Final[dict[Step, tuple[str, ...]]] = {
    "analysis": ("analysis", "records", "statistics", "strict_table"),
    "figures": ("figures", "fonts", "formatting"),
    "pages": ("analysis", "book", "config", "figures", "formatting", "pages", "plain_files", "records", "remember",
              "runs", "statistics", "strict_json", "strict_table", "yamlfile"),
}  # fmt: skip
PACKAGES: Final[dict[Step, tuple[str, ...]]] = {
    "analysis": ("numpy", "pandas", "pyarrow", "scipy"),
    "figures": ("kiwisolver", "matplotlib", "numpy", "pillow"),
    "pages": ("altair", "jinja2", "markupsafe", "numpy", "pandas", "pyarrow", "pydantic", "pydantic-core", "pyyaml",
              "scipy", "vl-convert-python"),
}  # fmt: skip


def open_memo(root: Path, step: Step, more: Sequence[str] = ()) -> Memo:
    """Return what one step of a project's report made before.

    Parameters
    ----------
    root : Path
        The project's folder.
    more : sequence of str
        What all entries depend on besides, such as a font.
    """
    files = [path for name in CODE[step] for path in _files(name)]
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES[step]]
    return Memo(root / ".cache" / "memo" / step, "\n".join([fingerprint(files), *versions, *more]))


def _files(name: str) -> list[Path]:
    folder = HERE / name
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
