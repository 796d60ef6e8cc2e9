"""Run ``make all`` in the surroundings that people have: it works, or says in one message what helps, and exits with 2.

A small project is made once. Each row of the table below copies it, changes the surroundings, removes the run where
they matter to training, and calls make.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from adapterbook.config.paths import Paths
from adapterbook.site.links import find_site_problems
from tests.support.factory import PROJECT
from tests.support.git_project import make_repository
from tests.support.sound_project import (
    ADAPTER,
    SOURCE,
    STUDY,
    make_sound_project,
    write_rows,
    write_settings,
)

NOBODY = "12345"  # a user without an entry in the system's list
NOT_A_FOLDER = "/dev/null/x"
OUT_OF_REACH = {"HF_ENDPOINT": "https://127.0.0.1:9"}
RUN = "experiments/results/embedded/lora/submitted/seed-1"


@dataclass(frozen=True)
class Row:
    """Describe the surroundings of a command, and what comes of it.

    Attributes
    ----------
    environment : dict
        Variables; ``{root}`` stands for the project's folder. None removes a variable.
    prepare : tuple of callable
        Each changes the project, and returns where it is then.
    trains : bool
        Whether the run is removed before.
    target : str
        What is made after ``all``.
    uid : str
        The user who calls make; empty: the one who runs the tests.
    shown : tuple of str
        Texts of the output.
    """

    environment: dict[str, str | None] = field(default_factory=dict)
    prepare: tuple[Callable[[Path], Path], ...] = ()
    trains: bool = False
    target: str = ""
    uid: str = ""
    exit: int = 0
    shown: tuple[str, ...] = ()


def _temporary(name: str) -> Callable[[Path], Path]:
    def prepare(root: Path) -> Path:
        (root / ".cache" / name).mkdir(parents=True)
        return root

    return prepare


def _other_kernel(root: Path) -> Path:
    spec = root / ".cache" / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "Other", "language": "python"}')
    return root


def _in_brackets(root: Path) -> Path:
    above = root.with_name("brackets [v1] {x} *")
    above.mkdir()
    return root.rename(above / root.name)


def _leftovers(root: Path) -> Path:
    for folder in ("experiments", "experiments/adapters", "experiments/sources", "templates", "templates/pages"):
        for name in (".DS_Store", "._x.yaml", ".x.yaml.swp", "x.yaml~", ".#lora.yaml", "._overview.qmd.j2",
                     ".overview.qmd.j2.swp", "overview.qmd.j2~", "#x.yaml#", "Thumbs.db", "desktop.ini"):  # fmt: skip
            (root / folder / name).write_bytes(b"\x00\x05\x16\x07 not a text {{ nothing ")
    return root


def _other_ending(root: Path) -> Path:
    (root / "experiments/adapters/lora.yaml").rename(root / "experiments/adapters/lora.yml")
    return root


def _with_git(root: Path) -> Path:
    repository = make_repository(root, root.with_name("remote.git"))
    for key in ("user.name", "user.email"):
        repository.git("config", "--unset", key)
    return root


NO_IDENTITY: dict[str, str | None] = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"} | {
    f"GIT_{who}_{what}": None for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
TOOK = "SOURCE=auto took embedded, because the hub source is out of reach"
HOME_SAID = ".cache/home in this project is used"

# What can be tried together is: each row that trains costs as much as a study.
ROWS = {
    "SOCKS proxy": Row({"ALL_PROXY": "socks5h://me:SECRET@127.0.0.1:9"}, shown=(TOOK, "ALL_PROXY", "SOCKS")),
    "malformed proxy": Row({"HTTPS_PROXY": "http://me:p#SECRET@h:80"}, shown=(TOOK, "HTTPS_PROXY", "cannot be used")),
    "proxy with credentials": Row({"HTTPS_PROXY": "http://me:SECRET@127.0.0.1:9"}, shown=(TOOK,)),
    "NO_PROXY in all forms": Row(
        {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "::1,[::1],[::1,10.0.0.0/8, .x ,*.y,z:80,,例,http://a/"},
        shown=(TOOK,),
    ),
    "NO_PROXY for every host": Row({"ALL_PROXY": "socks5://127.0.0.1:9", "no_proxy": "*"}, shown=(TOOK,)),
    "long TMPDIR, another kernel named python3, PYTHONSAFEPATH, files of editors and macOS": Row(
        {"TMPDIR": "{root}/.cache/" + "x" * 95, "JUPYTER_PATH": "{root}/.cache/jupyter", "PYTHONSAFEPATH": "1"},
        (_temporary("x" * 95), _other_kernel, _leftovers),
        trains=True,
    ),
    "brackets in TMPDIR and the project's path, no home or HF_HOME to write, another owner's git folder": Row(
        {
            "TMPDIR": "{root}/.cache/a [b c",
            "HOME": NOT_A_FOLDER,
            "HF_HOME": NOT_A_FOLDER,
            "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1",
        },
        (_with_git, _temporary("a [b c"), _in_brackets),
        trains=True,
        shown=(HOME_SAID,),
    ),
    "user without an entry and a home, TMPDIR that is not there": Row(
        {"HOME": None, "TMPDIR": NOT_A_FOLDER}, trains=True, uid=NOBODY, shown=(HOME_SAID,)
    ),
    "cache that cannot be written": Row({"XDG_CACHE_HOME": NOT_A_FOLDER}, shown=(HOME_SAID,)),
    "own cache that cannot be written": Row(
        {"ADAPTERBOOK_CACHE": NOT_A_FOLDER}, exit=2, shown=("ADAPTERBOOK_CACHE= names another one",)
    ),
    ".yml": Row(prepare=(_other_ending,), exit=2, shown=("lora.yml: rename it lora.yaml",)),
    "publishing another owner's git folder": Row(
        {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}, (_with_git,), target="publish", exit=2, shown=("safe.directory",)
    ),
    "git identity in the environment": Row(
        NO_IDENTITY | {f"GIT_COMMITTER_{key}": "me@example.org" for key in ("NAME", "EMAIL")},
        (_with_git,),
        target="publish",
        shown=("files as commit",),
    ),
    "no git identity": Row(
        NO_IDENTITY, (_with_git,), target="publish", exit=2, shown=("git config user.name", "GIT_COMMITTER_NAME")
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Path:
    """The small project after `make all`, with git and make as a person has them."""
    paths = make_sound_project(tmp_path_factory.mktemp("environments") / "project", embedded_model)
    sources = paths.experiments / "sources"
    (sources / "data").mkdir()
    write_rows({}, sources / "data")
    write_settings(sources / "hub.yaml", SOURCE | {"name": "hub", "base_model": "nobody/nothing"})
    write_settings(sources / "embedded.yaml", SOURCE | {"name": "embedded"})
    write_settings(paths.study, STUDY)
    write_settings(paths.experiments / "adapters" / "lora.yaml", ADAPTER)
    shutil.copy(PROJECT.root / "Makefile", paths.root)
    shutil.copytree(PROJECT.templates, paths.templates)
    shutil.copytree(PROJECT.report / "assets", paths.report / "assets")
    (paths.root / "adapterbook").symlink_to(PROJECT.root / "adapterbook")
    done = _make(paths.root, Row())
    assert done.returncode == 0 and "1 runs completed, 0 failed" in done.stdout, done.stdout + done.stderr
    return paths.root


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="adapterbook-environment-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _make(root: Path, row: Row) -> subprocess.CompletedProcess[str]:
    """Call make as a person does, but for the set-up of the environment, which is that of the tests."""
    changes = (
        OUT_OF_REACH
        | {"TMPDIR": None, "PYTHONPATH": None, "SOURCE": None, "RENDERER": "embedded"}
        | dict(row.environment)
    )
    environment = {name: value for name, value in os.environ.items() if name not in changes}
    environment |= {name: value.replace("{root}", str(root)) for name, value in changes.items() if value is not None}
    command = ["make", "--old-file=setup", f"VENV={sys.prefix}", "all", *filter(None, [row.target]), "ALLOW=unverified"]
    if row.uid:  # it may read everything, because this Python may lie in a folder of ours
        reading = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        command = ["setpriv", f"--reuid={row.uid}", f"--regid={row.uid}", "--clear-groups", *reading, *command]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_make_all_works_or_says_what_helps(name: str, made: Path, place: Path) -> None:
    """Every surrounding has the outcome that its row states, without a traceback, a password or an unnamed cause."""
    row = ROWS[name]
    if row.uid and (os.geteuid() != 0 or shutil.which("setpriv") is None):
        pytest.skip("only the administrator can become another user")
    root = Path(shutil.copytree(made, place / "project", symlinks=True))
    for prepare in row.prepare:
        root = prepare(root)
    before = (root / RUN / "record.json").read_bytes()
    if row.trains:
        shutil.rmtree(root / RUN)
    if row.uid:
        subprocess.run(["chown", "-R", f"{row.uid}:{row.uid}", str(place)], check=True)
    done = _make(root, row)
    said = done.stdout + done.stderr
    assert done.returncode == row.exit, said
    assert not [word for word in ("Traceback", "SECRET") if word in said], said
    assert not [text for text in row.shown if text not in " ".join(said.split())], said
    if row.exit:
        assert "Error 2" in done.stderr, said
        return
    trained = "1 runs completed, 0 failed" if row.trains else "All 1 runs are up to date"
    assert trained in said, said
    assert row.trains == ((root / RUN / "record.json").read_bytes() != before)
    assert find_site_problems(Paths(root).root / "_site") == []
    assert {f"report-{language}.pdf" for language in ("zh", "en")} <= {file.name for file in (root / "_site").iterdir()}
