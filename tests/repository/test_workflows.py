"""Check the workflows' rights, and that a published site does not tell whose machine made it."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.factory import PROJECT
from tests.support.small_project import make_small_project

# ---- the workflows

WORKFLOWS = sorted((PROJECT.root / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"^\s*(?:- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
# The rights of the job that publishes. Every other job may only read the repository.
DEPLOY = {"pages": "write", "id-token": "write"}


def _load(path: Path) -> dict[str, Any]:
    """Read a workflow; YAML 1.1 reads its key `on` as true."""
    content: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    content["on"] = content.pop(True)
    return content


def test_one_workflow_checks_each_push_and_one_makes_the_site() -> None:
    """`make check` runs on a push and on a pull request, in one workflow; `make all` in another."""
    commands = {path: path.read_text("utf-8") for path in WORKFLOWS}
    (check,) = (path for path, text in commands.items() if "run: make check" in text)
    (site,) = (path for path, text in commands.items() if "make all" in text)
    assert {"push", "pull_request"} <= set(_load(check)["on"])
    assert check != site


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_job_has_no_right_that_it_does_not_need(path: Path) -> None:
    """Only the job that deploys may write pages, and it runs no code of the project; all others may only read."""
    workflow = _load(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        if name == "deploy":
            assert job["permissions"] == DEPLOY
            assert [step["uses"].split("@")[0] for step in job["steps"]] == ["actions/deploy-pages"]
        else:
            assert job["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit(path: Path) -> None:
    """Each action is named by the forty digits of its commit, with the release beside them."""
    lines = [line for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert lines
    assert [line for line in lines if not PINNED.match(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_of_a_stranger_reaches_a_command(path: Path) -> None:
    """No workflow gives a fork rights, holds a secret or an expression in a command, or leaves a token on disk."""
    workflow, text = _load(path), path.read_text("utf-8")
    assert set(workflow["on"]) <= {"push", "pull_request", "workflow_dispatch"}
    assert "secrets." not in text
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("committed", [True, False])
def test_the_site_is_made_from_committed_records_where_there_are_any(tmp_path: Path, committed: bool) -> None:
    """The workflow's own command makes the site from committed records if there are any, and trains otherwise."""
    steps = _load(PROJECT.root / ".github/workflows/site.yml")["jobs"]["build"]["steps"]
    command = next(step["run"] for step in steps if "make all" in step.get("run", ""))
    record = tmp_path / "experiments/results/embedded/ia3/submitted/seed-1/record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}", "utf-8")
    (tmp_path / "make").write_text('#!/bin/sh\necho "$@"\n', "utf-8")
    (tmp_path / "make").chmod(0o755)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    if committed:
        subprocess.run(["git", "-C", tmp_path, "add", "--force", "experiments/results"], check=True)
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", command],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ("make site" if committed else "make all").removeprefix("make ")


# ---- the machine that made the site

# Each place of the made-up machine has a unique name. Of a path that is neither the project's nor home's,
# a reader may see the last part, and only that.
USER, HOST = "zebrafish", "quaggahost"
NAMES = (USER, HOST, "secretproject", "okapitmp", "narwhalcache", "wombatcache", "geckodata", "gecko data")
# The code of a careless notebook: it prints names of the machine, then fails.
TELLTALE = r"""
import getpass, logging, os, platform, socket, sys, tempfile, warnings
from pathlib import Path
import torch
home, data, user, host = Path.home(), Path(os.environ["REVIEWS"]), getpass.getuser(), socket.gethostname()
places = [home, Path.cwd(), tempfile.gettempdir(), os.environ["HF_HOME"], data, sys.executable, torch.__file__]
print(*places, *sys.path)
print(places, repr(str(home)), home.as_uri(), data.as_uri(), os.pathsep.join(map(str, places)))
print(f"\033[32m{data}/reviews.csv\033[0m:3", f"path={data}", f"({data}/x)", f"{data}", os.path.relpath(data))
print(f"/tmp/torchinductor_{user}/x", f"{user}@{host}", f"user_{user}", user.capitalize(), host.upper(), f"{host}.lan")
print(platform.node(), platform.uname(), os.uname())
logging.warning("on %s by %s in %s", host, user, places)
warnings.warn(f"see {places}")
if adapter == "ia3":
    raise OSError(28, f"No space left for {user} on {host}", os.environ["LOST"])
"""


def _own_host_name() -> list[str]:
    """Return the command that gives its arguments another host name, or nothing if the system forbids that."""
    for flags in ("-u", "-Uru"):
        command = ["unshare", flags, "sh", "-c", f'hostname {HOST} && exec "$@"', "sh"]
        try:
            done = subprocess.run([*command, "hostname"], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return []
        if done.stdout.strip() == HOST:
            return command
    return []


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path, embedded_dataset: Path) -> Path:
    """Make a project with a completed and a failed run on a machine whose every name is known; return its folder."""
    assert embedded_model.parent == embedded_dataset.parent
    machine = tmp_path_factory.mktemp("machine")
    home = machine / "home" / USER
    paths = make_small_project(home / "secretproject")
    shutil.copytree(
        PROJECT.root / "adapterbook", paths.root / "adapterbook", ignore=shutil.ignore_patterns("__pycache__")
    )
    (paths.root / ".venv").symlink_to(sys.prefix)
    for folder in ("okapitmp", "narwhalcache", "geckodata", "wombatcache"):
        (machine / folder).mkdir()
    (machine / "wombatcache" / "embedded").symlink_to(embedded_model.parent)
    for name in ("dora", "head_only"):
        (paths.experiments / "adapters" / f"{name}.yaml").unlink()
    study = yaml.safe_load(paths.study.read_text("utf-8"))
    study["variants"] = {"submitted": study["variants"]["submitted"]}
    paths.study.write_text(yaml.safe_dump(study, allow_unicode=True, sort_keys=False), "utf-8")
    notebook = json.loads(paths.notebook.read_text("utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code[1]["source"] = ("".join(code[1]["source"]) + TELLTALE).splitlines(keepends=True)
    paths.notebook.write_text(json.dumps(notebook, ensure_ascii=False, indent=1), "utf-8")
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ} | {
        "HOME": str(home), "USER": USER, "LOGNAME": USER, "HOSTNAME": HOST, "TMPDIR": str(machine / "okapitmp"),
        "HF_HOME": str(machine / "narwhalcache" / "hub"), "ADAPTERBOOK_CACHE": str(machine / "wombatcache"),
        "REVIEWS": str(machine / "geckodata" / "reviews"), "LOST": str(machine / "gecko data" / "x.bin"),
        "HF_ENDPOINT": f"http://{HOST}.invalid:9",
        "SOURCE": "auto", "RENDERER": "embedded",
    }  # fmt: skip
    git = ["git", "-C", str(paths.root), "-c", f"user.name={USER}", "-c", f"user.email={USER}@{HOST}"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "remote", "add", "origin", f"ssh://{USER}@{HOST}/secretproject.git"], check=True)
    subprocess.run([*git, "add", "experiments"], check=True)
    subprocess.run([*git, "commit", "-qm", f"by {USER}"], check=True)
    python = paths.root / ".venv" / Path(sys.executable).relative_to(sys.prefix)
    done = subprocess.run(
        [*_own_host_name(), python, "-m", "adapterbook", "all"],
        cwd=paths.root, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert re.search(r"1 runs? completed, 1 failed", done.stdout), done.stdout + done.stderr
    assert (paths.root / "_site" / "report-zh.pdf").is_file(), done.stdout + done.stderr
    return paths.root


def _texts(path: Path) -> Iterator[str]:
    """Yield every text in a file: its bytes, the text that a browser shows, and packed contents."""
    raw = path.read_bytes()
    yield raw.decode("utf-8", "replace")
    yield raw.decode("utf-16-be", "replace")  # PDF strings
    if path.suffix in (".html", ".svg", ".js", ".ipynb"):
        yield html.unescape(raw.decode("utf-8"))
    for data in re.findall(rb"data:[^;,\"]+;base64,([A-Za-z0-9+/=]+)", raw):
        yield base64.b64decode(data).decode("utf-8", "replace")
    if path.suffix == ".pdf":
        for stream in re.findall(rb"stream\r?\n(.*?)endstream", raw, re.DOTALL):
            if stream[:1] == b"x":  # zlib
                yield zlib.decompressobj().decompress(stream).decode("utf-8", "replace")
        if shutil.which("pdftotext"):
            yield subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout


def _published_files(root: Path) -> list[Path]:
    """Return the files of the site and of the records, which may be committed and published from."""
    files = [path for folder in ("_site", "experiments/results") for path in (root / folder).rglob("*")]
    return sorted(path for path in files if path.is_file() and not path.name.startswith((".lock", ".trainer")))


@pytest.mark.slow
def test_the_site_does_not_tell_whose_machine_made_it(published: Path) -> None:
    """No page, index, notebook, record, figure, PDF or file name holds a folder, user or host of the machine."""
    machine = published.parents[2]
    names = re.compile("|".join(map(re.escape, (*NAMES, machine.name))), re.IGNORECASE)
    found: dict[str, str] = {}  # what tells, and the first file that does
    for path in _published_files(published):
        shown = path.relative_to(published).as_posix()
        for text in (shown, *_texts(path)):
            for hit in names.finditer(text):
                around = text[max(0, hit.start() - 30) : hit.end() + 20].replace("\n", " ")
                found.setdefault(around, shown)
    assert found == {}


@pytest.mark.slow
def test_what_was_hidden_leaves_a_text_that_helps(published: Path) -> None:
    """The failed run still shows its error, and the notebook can still be read."""
    record = json.loads(next(published.glob("experiments/results/*/ia3/*/*/record.json")).read_text("utf-8"))
    assert record["status"] == "failed"
    assert "No space left for" in record["error"]["message"]
    assert "x.bin" in record["error"]["message"]
    notebook = next(published.glob("experiments/results/*/lora_1/*/*/notebook.ipynb")).read_text("utf-8")
    assert "site-packages/torch/__init__.py" in notebook
