"""The hub source through the real client, against a Hub on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapterbook.config.paths import Paths
from tests.support.factory import PROJECT
from tests.support.hub_server import COMMIT, LATER_COMMIT, HubServer, serve_hub
from tests.support.small_project import cut_down, make_small_project, run_adapterbook, write_study
from tests.support.tiny_hub import DATASET, MODEL, make_dataset, make_model

# In a process of its own: the client reads HF_ENDPOINT once, when it is imported.
SCRIPT = """
import json, sys
from pathlib import Path
from adapterbook.common.errors import SourceError
from adapterbook.config.paths import Paths
from adapterbook.config.study import load_study
from adapterbook.sources.resolve import fetch_source, hash_folder, resolve_source
from adapterbook.training.data import load_splits
paths = Paths(Path.cwd())
try:
    resolved = resolve_source(sys.argv[1], paths)
    fetched = fetch_source(resolved)
    splits = load_splits(fetched.dataset, resolved.config, load_study(paths.study).data)
except SourceError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({
        "name": resolved.config.name, "reason": resolved.reason, "identity": resolved.data_identity(),
        "base_model_sha256": hash_folder(fetched.base_model),
        "rows": {name: len(rows) for name, rows in splits.items()},
        "test_texts": splits["test"]["text"][:20],
    }))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Iterator[HubServer]:
    """A Hub that has the homework's two names: a real DistilBERT, and a data set laid out as IMDB's."""
    dataset = make_dataset(tmp_path_factory.mktemp("served") / "imdb")
    with serve_hub({f"models/{MODEL}": embedded_model, f"datasets/{DATASET}": dataset}) as server:
        yield server


def _run(hub_url: str, home: Path, source: str = "hub", cwd: Path = PROJECT.root) -> dict[str, Any]:
    environment = os.environ | {
        "HF_ENDPOINT": hub_url,
        "HF_HOME": str(home),
        "PYTHONPATH": str(PROJECT.root),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, source], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_the_hub_source_is_resolved_fetched_and_then_needs_no_network(hub: HubServer, tmp_path: Path) -> None:
    """Both commits are known, the test rows come from the test split, and the second time nobody is asked."""
    first = _run(hub.url, tmp_path)
    assert first["identity"]["base_model"] == first["identity"]["dataset"] == f"hub:{COMMIT}"
    assert first["rows"] == {"train": 128, "validation": 32, "selection": 512, "test": 512}
    assert all(text.startswith("test ") for text in first["test_texts"])
    asked = len(hub.requests)
    second = _run("http://127.0.0.1:9", tmp_path)
    assert second == first
    assert len(hub.requests) == asked
    assert _run("http://127.0.0.1:9", tmp_path, "auto")["name"] == "hub"


@pytest.mark.slow
def test_only_safetensors_are_fetched(hub: HubServer, tmp_path: Path, embedded_model: Path) -> None:
    """No pickle is downloaded, though the model has one."""
    hub.requests.clear()
    _run(hub.url, tmp_path)
    fetched = [request for request in hub.requests if "/resolve/" in request or "/store/" in request]
    assert any("model.safetensors" in request for request in fetched)
    assert not any(request.endswith((".bin", ".pt", ".py")) for request in fetched)


def test_a_revision_that_is_not_there_is_named(hub: HubServer, tmp_path: Path) -> None:
    """The name exists, the revision does not."""
    text = (PROJECT.experiments / "sources" / "hub.yaml").read_text("utf-8")
    source = tmp_path / "mine.yaml"
    source.write_text(text + "dataset_revision: never\n", "utf-8")
    found = _run(hub.url, tmp_path / "home", str(source))
    assert "stanfordnlp/imdb: the Hub has the name, but not the revision" in found["error"]


@pytest.mark.slow
def test_a_download_that_breaks_off_is_an_error_and_the_next_one_goes_on(hub: HubServer, tmp_path: Path) -> None:
    """A server that fails in the middle of a file leaves nothing that is taken for whole."""
    with hub.fault("GET /store/", break_after=1_000_000):
        broken = _run(hub.url, tmp_path)
    assert "distilbert/distilbert-base-cased" in broken["error"]
    assert _run(hub.url, tmp_path)["rows"]["train"] == 128


def test_a_closed_port_is_an_error_at_once_and_auto_goes_on_without(tmp_path: Path) -> None:
    """SOURCE=hub says what to do; SOURCE=auto takes the embedded source and says why."""
    refused = _run("http://127.0.0.1:9", tmp_path)
    assert "SOURCE=embedded" in refused["error"]
    auto = _run("http://127.0.0.1:9", tmp_path, "auto")
    assert auto["name"] == "embedded"
    assert "took embedded, because the hub source is out of reach" in auto["reason"]


@pytest.mark.slow
def test_two_processes_that_fetch_at_once_do_not_hinder_each_other(hub: HubServer, tmp_path: Path) -> None:
    """Both end with the same files, and the cache holds each once."""
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: _run(hub.url, tmp_path), range(2)))
    assert results[0] == results[1]
    assert results[0]["rows"]["train"] == 128
    blobs = list((tmp_path / "hub" / "models--distilbert--distilbert-base-cased" / "blobs").iterdir())
    assert len(blobs) == len({blob.name.partition(".")[0] for blob in blobs})


# As the notebook and the check before it do it; the folders hold code that must not run.
LOAD_ALL = """
import sys
from pathlib import Path
from transformers import AutoTokenizer
from adapterbook.common.errors import SourceError
from adapterbook.config.study import load_adapters
from adapterbook.config.paths import Paths
from adapterbook.config.source import load_source
from adapterbook.config.study import load_study
from adapterbook.training.data import load_splits
from adapterbook.training.model import check_adapters, load_base_model
model, dataset, paths = Path(sys.argv[1]), Path(sys.argv[2]), Paths(Path.cwd())
print(type(AutoTokenizer.from_pretrained(model)).__name__)
check_adapters(load_adapters(paths.experiments / "adapters").values(), model)
print(type(load_base_model(model, seed=1)).__name__)
try:
    load_splits(dataset, load_source(paths.experiments / "sources" / "hub.yaml"), load_study(paths.study).data)
except SourceError as error:
    print(error)
"""


def _add_code(model: Path, dataset: Path, canary: Path) -> None:
    """Put code into a model and a data set, where Transformers and Datasets used to run it."""
    code = f"open({str(canary)!r}, 'w').close()\nclass X: ...\n"
    for file in (model / "modeling_x.py", model / "tokenization_x.py", dataset / f"{dataset.name}.py"):
        file.write_text(code, "utf-8")
    config = json.loads((model / "config.json").read_text("utf-8"))
    names = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification")
    config["auto_map"] = dict.fromkeys(names, "modeling_x.X")
    (model / "config.json").write_text(json.dumps(config), "utf-8")
    tokenizer = json.loads((model / "tokenizer_config.json").read_text("utf-8"))
    tokenizer["auto_map"] = {"AutoTokenizer": ["tokenization_x.X", "tokenization_x.X"]}
    (model / "tokenizer_config.json").write_text(json.dumps(tokenizer), "utf-8")


def test_code_that_comes_with_a_folder_is_not_run(tmp_path: Path, embedded_model: Path) -> None:
    """A model's, a tokenizer's and a data set's own code, lying beside their files, stays unread."""
    model = make_model(tmp_path / "model", embedded_model)
    dataset = make_dataset(tmp_path / "imdb")
    _add_code(model, dataset, tmp_path / "canary")
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, str(model), str(dataset)],
        cwd=PROJECT.root, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "DistilBertForSequenceClassification" in done.stdout
    assert not (tmp_path / "canary").exists()


@pytest.mark.slow
def test_a_run_from_the_hub_and_then_without_it(tmp_path: Path, embedded_model: Path) -> None:
    """One run trains from the Hub and runs none of its code; then it is up to date without network; then main moves."""
    model = make_model(tmp_path / "served" / "model", embedded_model)
    dataset = make_dataset(tmp_path / "served" / "imdb")
    _add_code(model, dataset, tmp_path / "canary")
    paths = _one_run(tmp_path / "project")
    secret = "hf_ThisIsSecret0123456789"
    with serve_hub({f"models/{MODEL}": model, f"datasets/{DATASET}": dataset}) as hub:
        port = hub.url.rpartition(":")[2]
        settings = {"SOURCE": "hub", "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": secret}
        done = run_adapterbook(paths, "train", **settings)
        asked = list(hub.requests)
        hub.commit = LATER_COMMIT
        moved = run_adapterbook(paths, "status", **settings | {"HF_HOME": str(tmp_path / "elsewhere")})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 runs completed, 0 failed" in done.stdout
    assert not (tmp_path / "canary").exists()
    assert not [request for request in asked if request.endswith((".py", ".bin"))]
    folder = paths.results / "hub" / "lora_1" / "lr-1e-3" / "seed-224"
    record = json.loads((folder / "record.json").read_text("utf-8"))
    assert record["source"]["base_model_revision"] == record["source"]["dataset_revision"] == COMMIT
    left = [path for path in folder.rglob("*") if path.suffix in (".json", ".ipynb", ".md", ".yaml")]
    for text in (done.stdout, done.stderr, *(path.read_text("utf-8") for path in left)):
        assert secret not in text
        assert f":{port}" not in text
    gone = run_adapterbook(paths, "train", **settings)
    assert (gone.returncode, "up to date" in gone.stdout) == (0, True), gone.stdout + gone.stderr
    assert moved.returncode == 1
    assert "stale" in moved.stdout
    assert "data" in moved.stdout


def _one_run(root: Path) -> Paths:
    """Make the small project smaller: one adapter, one variant, one seed."""
    paths = cut_down(make_small_project(root), ["lora_1"], ["lr-1e-3"])
    write_study(paths, yaml.safe_load(paths.study.read_text("utf-8")) | {"seeds": [224]})
    return paths
