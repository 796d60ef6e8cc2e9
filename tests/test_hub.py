"""The hub source through the real client, against a Hub on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.factory import PROJECT
from tests.hub_server import COMMIT, HubServer, serve_hub

# In a process of its own: the client reads HF_ENDPOINT once, when it is imported.
SCRIPT = """
import json, sys
from pathlib import Path
from adapterbook.config import Paths, load_study
from adapterbook.data import load_splits
from adapterbook.errors import SourceError
from adapterbook.sources import fetch_source, hash_folder, resolve_source
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

CARD = """---
configs:
- config_name: plain_text
  default: true
  data_files:
  - {split: train, path: plain_text/train-*}
  - {split: test, path: plain_text/test-*}
---
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Iterator[HubServer]:
    """A Hub that has the homework's two names: a real DistilBERT, and a data set laid out as IMDB's."""
    dataset = tmp_path_factory.mktemp("imdb")
    (dataset / "plain_text").mkdir()
    for split in ("train", "test"):
        rows = {"text": [f"{split} review number {i}" for i in range(700)], "label": [i % 2 for i in range(700)]}
        pd.DataFrame(rows).to_parquet(dataset / "plain_text" / f"{split}-00000-of-00001.parquet", index=False)
    (dataset / "README.md").write_text(CARD, "utf-8")
    repos = {"models/distilbert/distilbert-base-cased": embedded_model, "datasets/stanfordnlp/imdb": dataset}
    with serve_hub(repos) as server:
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
    assert first["rows"] == {"train": 128, "validation": 32, "test": 512}
    assert all(text.startswith("test ") for text in first["test_texts"])
    asked = len(hub.requests)
    second = _run("http://127.0.0.1:9", tmp_path)
    assert second == first
    assert len(hub.requests) == asked
    assert _run("http://127.0.0.1:9", tmp_path, "auto")["name"] == "hub"


def test_only_safetensors_are_fetched(hub: HubServer, tmp_path: Path, embedded_model: Path) -> None:
    """No pickle is downloaded, though the model has one."""
    hub.requests.clear()
    _run(hub.url, tmp_path)
    fetched = [request for request in hub.requests if "/resolve/" in request]
    assert any("model.safetensors" in request for request in fetched)
    assert not any(request.endswith((".bin", ".pt", ".py")) for request in fetched)


def test_a_revision_that_is_not_there_is_named(hub: HubServer, tmp_path: Path) -> None:
    """The name exists, the revision does not."""
    text = (PROJECT.experiments / "sources" / "hub.yaml").read_text("utf-8")
    source = tmp_path / "mine.yaml"
    source.write_text(text + "dataset_revision: never\n", "utf-8")
    found = _run(hub.url, tmp_path / "home", str(source))
    assert "stanfordnlp/imdb: the Hub has the name, but not the revision" in found["error"]


def test_a_download_that_breaks_off_is_an_error_and_the_next_one_goes_on(hub: HubServer, tmp_path: Path) -> None:
    """A server that fails in the middle of a file leaves nothing that is taken for whole."""
    hub.break_after = 1_000_000
    try:
        broken = _run(hub.url, tmp_path)
    finally:
        hub.break_after = None
    assert "distilbert/distilbert-base-cased" in broken["error"]
    assert _run(hub.url, tmp_path)["rows"]["train"] == 128


def test_a_closed_port_is_an_error_at_once_and_auto_goes_on_without(tmp_path: Path) -> None:
    """SOURCE=hub says what to do; SOURCE=auto takes the embedded source and says why."""
    refused = _run("http://127.0.0.1:9", tmp_path)
    assert "SOURCE=embedded" in refused["error"]
    auto = _run("http://127.0.0.1:9", tmp_path, "auto")
    assert auto["name"] == "embedded"
    assert "took embedded, because the hub source is out of reach" in auto["reason"]
