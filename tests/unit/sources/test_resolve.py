"""Resolve a choice of source, with and without the Hub, to local folders."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from adapterbook.common.errors import ConfigError, SourceError
from adapterbook.config.paths import Paths
from adapterbook.sources import hub
from adapterbook.sources.packages import BASE_MODEL, CONVERTER, DATASET, EMBEDDED
from adapterbook.sources.resolve import fetch_source, hash_folder, resolve_source

MODEL, IMDB = "distilbert/distilbert-base-cased", "stanfordnlp/imdb"
COMMITS = {MODEL: "a" * 40, IMDB: "b" * 40}


@pytest.fixture
def paths(tmp_path: Path, project: Paths) -> Paths:
    """Return a project with the shipped sources and nothing else."""
    shutil.copytree(project.experiments / "sources", tmp_path / "project" / "experiments" / "sources")
    return Paths(tmp_path / "project")


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide an empty cache of the Hub, and a Hub that refuses every connection at once."""
    cache = tmp_path / "hub-cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return cache


def test_embedded_is_known_without_network(paths: Paths) -> None:
    """The embedded source is identified by the hashes of its packages."""
    resolved = resolve_source("embedded", paths)
    assert (
        resolved.base_model.identity == f"package:{EMBEDDED[BASE_MODEL].sha256}:all-MiniLM-L6-v2-distilbert:{CONVERTER}"
    )
    assert resolved.dataset.identity == f"package:{EMBEDDED[DATASET].sha256}:movie-review-snippets:{CONVERTER}"
    assert (resolved.base_model.kind, resolved.base_model.revision) == ("embedded", None)
    assert resolved.reason == "SOURCE=embedded was asked for."


def test_auto_takes_embedded_where_the_hub_is_out_of_reach(paths: Paths) -> None:
    """Without the Hub, auto takes embedded, and one sentence says why and what was tried."""
    resolved = resolve_source("auto", paths)
    assert resolved.config.name == "embedded"
    assert resolved.reason.startswith("SOURCE=auto took embedded, because the hub source is out of reach")
    assert MODEL in resolved.reason
    assert IMDB in resolved.reason
    assert "\n" not in resolved.reason


def test_hub_without_network_says_what_to_do(paths: Paths) -> None:
    """SOURCE=hub without the Hub is an error that names both names and the way out."""
    with pytest.raises(SourceError, match=rf"(?s){MODEL} and {IMDB}.*not reached.*SOURCE=embedded or SOURCE=auto"):
        resolve_source("hub", paths)


def test_offline_switch_is_respected(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HF_HUB_OFFLINE nothing is asked, and the error says that this is why."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        resolve_source("hub", paths)
    assert resolve_source("auto", paths).config.name == "embedded"


@pytest.mark.parametrize("trickle", [False, True], ids=["silent", "trickling"])
def test_hanging_server_costs_the_time_limit_and_no_more(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, trickle: bool
) -> None:
    """A server that accepts and never answers, or sends a byte now and then, holds up both questions only once."""
    with _hanging_server(trickle) as port:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        started_s = time.monotonic()
        resolved = resolve_source("auto", paths, timeout_s=2.0)
        elapsed_s = time.monotonic() - started_s
    assert resolved.config.name == "embedded"
    assert "did not answer within 2 s" in resolved.reason
    assert 1.9 < elapsed_s < 3.9  # not once for each name


def test_hub_names_resolve_to_commits(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the Hub answers, the commits are the identity, and auto takes the hub source."""
    _answer(monkeypatch)
    resolved = resolve_source("auto", paths)
    assert resolved.config.name == "hub"
    assert resolved.base_model.identity == f"hub:{COMMITS[MODEL]}"
    assert resolved.dataset.revision == COMMITS[IMDB]
    assert resolved.reason.startswith("SOURCE=auto found both names of the hub source")


def test_one_missing_name_is_enough_for_auto_to_take_embedded(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Auto takes the Hub only where both names resolve."""
    _answer(monkeypatch, missing=IMDB)
    resolved = resolve_source("auto", paths)
    assert resolved.config.name == "embedded"
    assert IMDB in resolved.reason
    assert MODEL not in resolved.reason


def test_complete_snapshot_in_the_cache_needs_no_network(
    paths: Paths, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If both names are in the Hub's cache nothing is asked, and fetching returns the snapshots."""
    model = _cache(hub_cache, MODEL, "model", ["config.json", "model.safetensors", "tokenizer.json"])
    dataset = _cache(hub_cache, IMDB, "dataset", ["README.md", "plain_text/train-00000-of-00001.parquet"])
    _answer(monkeypatch, refuse=True)
    resolved = resolve_source("hub", paths)
    assert (resolved.base_model.revision, resolved.dataset.revision) == (COMMITS[MODEL], COMMITS[IMDB])
    fetched = fetch_source(resolved)
    assert (fetched.base_model, fetched.dataset) == (model, dataset)


@pytest.mark.parametrize("files", [["config.json", "pytorch_model.bin", "vocab.txt"], ["config.json", "vocab.txt"]])
def test_snapshot_without_safetensors_is_not_complete(paths: Paths, hub_cache: Path, files: list[str]) -> None:
    """A cached model without safetensors weights does not count: the Hub is asked, here in vain."""
    _cache(hub_cache, MODEL, "model", files)
    with pytest.raises(SourceError, match=MODEL):
        resolve_source("hub", paths)


def test_hub_model_without_safetensors_is_refused(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that brings no safetensors is an error, not a fall back on pickled weights."""
    _answer(monkeypatch)
    folder = _folder(tmp_path / "snapshot", ["config.json", "vocab.txt"])
    patterns: list[str] = []

    def download(name: str, repo_type: str, branch: str, commit: str, wanted: list[str]) -> Path:
        patterns.extend(wanted)
        return folder

    monkeypatch.setattr(hub, "download_snapshot", download)
    with pytest.raises(SourceError, match="safetensors"):
        fetch_source(resolve_source("hub", paths))
    assert patterns == ["*.json", "*.txt", "*.safetensors"]


def test_downloaded_snapshot_is_found_without_network(
    paths: Paths, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one run has downloaded at the resolved commit, the next run finds in the cache without asking."""
    files = {"model": ["config.json", "model.safetensors", "vocab.txt"], "dataset": ["train.parquet"]}
    look_up = huggingface_hub.snapshot_download

    def snapshot_download(name: str, *, repo_type: str, local_files_only: bool = False, **options: Any) -> str:
        if not local_files_only:  # as the client does it where it is given a commit: no note of the branch
            repository = hub_cache / f"{repo_type}s--{name.replace('/', '--')}"
            _folder(repository / "snapshots" / options["revision"], files[repo_type])
        return str(look_up(name, repo_type=repo_type, local_files_only=True, **options))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    _answer(monkeypatch)
    first = fetch_source(resolve_source("hub", paths))
    _answer(monkeypatch, refuse=True)
    assert fetch_source(resolve_source("hub", paths)) == first
    assert first.base_model.name == COMMITS[MODEL]


def test_own_file_among_the_sources_goes_by_its_name(paths: Paths, tmp_path: Path) -> None:
    """A file in experiments/sources/ can be chosen by its name or by its path."""
    file = _own_yaml(paths.experiments / "sources" / "mine.yaml", BASE_MODEL, DATASET)
    assert resolve_source("mine", paths).config == resolve_source(str(file), paths).config


def test_failed_download_says_what_to_do(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub that knows the name and then disappears gives an error with a remedy, not the client's traceback."""
    _answer(monkeypatch)

    def download(*_: Any) -> Path:
        raise LocalEntryNotFoundError("https://hub.example/x") from ConnectionRefusedError("hub.example")

    monkeypatch.setattr(hub, "download_snapshot", download)
    with pytest.raises(SourceError, match=r"from the Hub: .* not reached \(ConnectionRefusedError\): try again"):
        fetch_source(resolve_source("hub", paths))


def test_own_yaml_takes_folders_beside_it_and_in_the_working_folder(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative folders are looked up beside the YAML file first, then in the working folder; no path is recorded."""
    beside = _folder(tmp_path / "own" / "model", ["config.json", "model.safetensors", "vocab.txt"])
    _folder(tmp_path / "work" / "model", ["config.json", "model.safetensors", "vocab.txt", "added_tokens.json"])
    rows = _folder(tmp_path / "work" / "reviews", ["train.parquet"])
    monkeypatch.chdir(tmp_path / "work")
    resolved = resolve_source(str(_own_yaml(tmp_path / "own" / "mine.yaml", "model", "reviews")), paths)
    assert resolved.config.name == "mine"
    assert (resolved.base_model.name, resolved.dataset.name) == ("model", "reviews")
    assert resolved.base_model.identity == f"files:{hash_folder(beside)}"
    assert fetch_source(resolved).dataset == rows
    recorded = [resolved.base_model.name, resolved.dataset.name, resolved.reason, *resolved.data_identity().values()]
    assert not any(str(tmp_path) in text for text in recorded)


def test_own_yaml_with_a_missing_folder_says_where_it_looked(paths: Paths, tmp_path: Path) -> None:
    """A folder that is not there is one clear error, whether or not its name could be one of the Hub's."""
    with pytest.raises(SourceError, match=r"mine.yaml: base_model.*\n.*'\./model'.*not a folder beside mine.yaml"):
        resolve_source(str(_own_yaml(tmp_path / "mine.yaml", "./model", "reviews")), paths)
    with pytest.raises(SourceError, match=r"(?s)my/model and my/reviews: .*a folder of that name beside mine.yaml"):
        resolve_source(str(_own_yaml(tmp_path / "mine.yaml", "my/model", "my/reviews")), paths)


def test_own_folder_that_is_no_model_names_everything_it_lacks(paths: Paths, tmp_path: Path) -> None:
    """Everything that is missing is reported at once."""
    _folder(tmp_path / "model", ["pytorch_model.bin"])
    with pytest.raises(SourceError) as caught:
        resolve_source(str(_own_yaml(tmp_path / "mine.yaml", "model", DATASET)), paths)
    assert len(caught.value.problems) == 3
    assert "model.safetensors" in str(caught.value)


def test_own_folder_without_data_is_refused(paths: Paths, tmp_path: Path) -> None:
    """A data set's folder must hold at least one file of data."""
    _folder(tmp_path / "reviews", ["README.md"])
    with pytest.raises(SourceError, match=r"expected files of data \(.*\.parquet"):
        resolve_source(str(_own_yaml(tmp_path / "mine.yaml", BASE_MODEL, "reviews")), paths)


@pytest.mark.parametrize("choice", ["nope.yaml", "Hub", "", "."])
def test_choice_that_is_nothing_says_what_there_is(paths: Paths, choice: str) -> None:
    """If a choice is neither a word nor a file, the message names both possibilities."""
    with pytest.raises(SourceError, match=r"expected auto, .*\(hub, embedded\) or the path of a YAML file"):
        resolve_source(choice, paths)


@pytest.mark.parametrize("name", ["embedded/imdb", " "])
def test_bad_names_in_a_yaml_are_errors_of_the_file(paths: Paths, tmp_path: Path, name: str) -> None:
    """An embedded name that does not exist, or an empty one, is for the user to mend in the file."""
    with pytest.raises(ConfigError, match=r"mine\.yaml is not valid"):
        resolve_source(str(_own_yaml(tmp_path / "mine.yaml", name, DATASET)), paths)


def test_hash_of_a_model_covers_what_is_loaded_and_nothing_else(tmp_path: Path) -> None:
    """Weights, settings and tokenizer count, a README, pickled weights and hidden files do not; names count."""
    folder = _folder(tmp_path / "model", ["config.json", "model.safetensors", "vocab.txt"])
    before = hash_folder(folder)
    _folder(folder, ["README.md", "pytorch_model.bin", ".manifest.json"])
    assert hash_folder(folder) == before
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b"!")
        assert hash_folder(folder) != before, name
        (folder / name).write_bytes(content)
    (folder / "vocab.txt").rename(folder / "other.txt")
    assert hash_folder(folder) != before


def test_hash_does_not_depend_on_where_the_folder_is(tmp_path: Path) -> None:
    """The same files in two places hash the same, and a data set's hash covers its subfolders."""
    hashes = {hash_folder(_folder(tmp_path / place / "rows", ["a/train.csv", "b/test.csv"])) for place in "xy"}
    assert len(hashes) == 1
    assert hash_folder(_folder(tmp_path / "x" / "rows", ["b/more.csv"])) not in hashes


def test_data_identity_holds_the_columns_and_splits(paths: Paths) -> None:
    """Reading another column or split is another data set to a stamp."""
    identity = resolve_source("embedded", paths).data_identity()
    assert identity["text_column"] == "text"
    assert identity["test_split"] == ""
    assert all(isinstance(value, str) for value in identity.values())
    assert {"base_model", "dataset", "label_column", "train_split"} < set(identity)


def test_resolving_loads_no_torch(project: Paths) -> None:
    """Resolving a source loads no training library."""
    code = (
        "import sys; from pathlib import Path; from adapterbook.config.paths import Paths; "
        "from adapterbook.sources.resolve import resolve_source; resolve_source('embedded', Paths(Path('.'))); "
        "sys.exit('torch' in sys.modules or 'datasets' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=project.root, check=True, timeout=60)


def _folder(folder: Path, files: list[str]) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".safetensors"):
            save_file({"weight": np.zeros(2, np.float32)}, folder / name)
        elif name == "tokenizer.json":
            Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(folder / name))
        else:
            (folder / name).write_text("{}", "utf-8")
    return folder


def _cache(cache: Path, name: str, repo_type: str, files: list[str]) -> Path:
    """Write a snapshot as the Hub's client does, without its listing of the repository."""
    repository = cache / f"{repo_type}s--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMITS[name], "utf-8")
    return _folder(repository / "snapshots" / COMMITS[name], files)


def _own_yaml(file: Path, base_model: str, dataset: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'name: mine\nbase_model: "{base_model}"\ndataset: "{dataset}"\n', "utf-8")
    return file


def _answer(monkeypatch: pytest.MonkeyPatch, *, missing: str = "", refuse: bool = False) -> None:
    """Replace the Hub's answer to the question which commit a name stands for."""

    def repo_info(_: Any, name: str, **__: Any) -> SimpleNamespace:
        if refuse:
            pytest.fail(f"the Hub was asked for {name}")
        if name == missing:
            raise ConnectionError("no route")
        return SimpleNamespace(sha=COMMITS[name])

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)


@contextmanager
def _hanging_server(trickle: bool) -> Iterator[int]:
    """Serve a port that takes every connection and never finishes an answer; if trickling, it sends byte by byte."""
    stopped = threading.Event()
    gives_up_s = time.monotonic() + 5  # so that a client without a limit makes a test fail, not hang
    clients: list[socket.socket] = []

    def serve(server: socket.socket) -> None:
        while not stopped.is_set() and time.monotonic() < gives_up_s:
            with suppress(TimeoutError):
                clients.append(server.accept()[0])
            for client in clients if trickle else []:
                with suppress(OSError):  # the client has given up
                    client.send(b"H")
        for client in clients:
            client.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            stopped.set()
            thread.join(5)
