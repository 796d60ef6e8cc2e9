"""Test faults between a Hub and this machine: each is one message in bounded time, and no broken file is used.

The tests use the real client in this process, a Hub on loopback, and a separate cache for each test.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import close_session, constants

from adapterbook.common.errors import SourceError
from adapterbook.config.paths import Paths
from adapterbook.sources.resolve import FetchedSource, fetch_source, resolve_source
from tests.support.hub_server import COMMIT, LATER_COMMIT, HubServer, serve_hub
from tests.support.processes import wait_until
from tests.support.tiny_hub import DATASET, MODEL, make_dataset, make_model

TOKEN = "hf_ThisIsSecret0123456789"
STALLED_S = 0.4  # for one read of a download that stalls: it ends after 1.2 s
PATIENT_S = 10.0  # for one read if the Hub answers, enough for a busy machine
LONGEST_S = 300.0  # far more than any case takes, far less than what a faulty Hub asks for
PARQUET = "plain_text/train-00000-of-00001.parquet"


@pytest.fixture
def hub(tmp_path: Path, embedded_model: Path) -> Iterator[HubServer]:
    """Serve a Hub with the homework's two names, at a few kilobytes each."""
    model = make_model(tmp_path / "served" / "model", embedded_model)
    dataset = make_dataset(tmp_path / "served" / "imdb", n_rows=20)
    with serve_hub({f"models/{MODEL}": model, f"datasets/{DATASET}": dataset}) as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Provide an empty cache, and a client that speaks to the Hub on loopback with short limits and a token."""
    folder = tmp_path / "cache"
    close_session()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", PATIENT_S)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    _speak_to(hub.url, monkeypatch)
    yield folder
    close_session()


@pytest.fixture
def paths(tmp_path: Path, project: Paths) -> Paths:
    """Return a project with the shipped sources and nothing else."""
    shutil.copytree(project.experiments / "sources", tmp_path / "project" / "experiments" / "sources")
    return Paths(tmp_path / "project")


def _speak_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def _fetch(paths: Paths, choice: str = "hub", timeout_s: float = PATIENT_S) -> FetchedSource:
    return fetch_source(resolve_source(choice, paths, timeout_s=timeout_s))


def _message(paths: Paths, hub: HubServer, tmp_path: Path, choice: str = "hub", timeout_s: float = PATIENT_S) -> str:
    """Return the message of a fetch that fails, after checking that it holds no secret."""
    with pytest.raises(SourceError) as caught:
        _fetch(paths, choice, timeout_s)
    message = str(caught.value)
    _check_discreet(message, hub, tmp_path)
    assert caught.value.__cause__ is None
    return message


def _check_discreet(text: str, hub: HubServer, tmp_path: Path) -> None:
    for secret in ("127.0.0.1", "localhost", hub.url.rpartition(":")[2], str(tmp_path), TOKEN, "Traceback"):
        assert secret not in text


def _snapshot(cache: Path, name: str, repo_type: str = "model", commit: str = COMMIT) -> Path:
    return cache / f"{repo_type}s--{name.replace('/', '--')}" / "snapshots" / commit


def test_a_fetch_brings_what_is_wanted_and_no_more(paths: Paths, hub: HubServer, cache: Path) -> None:
    """Settings, tokenizer, safetensors and data arrive; no pickle and no code; the other host sees no token."""
    fetched = _fetch(paths)
    assert fetched.base_model == _snapshot(cache, MODEL)
    assert fetched.dataset == _snapshot(cache, DATASET, "dataset")
    there = {path.name for path in fetched.base_model.iterdir()}
    assert there == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}
    assert any(request.startswith("GET /store/") for request in hub.requests)
    assert not hub.tokens_elsewhere
    assert not any(request.endswith((".bin", ".py")) for request in hub.requests)


def one_of_each_answer(cases: Mapping[str, Any], answer: Callable[[Any], str]) -> list[Any]:
    """Return the cases as parameters; of those with the same answer all but the first are slow."""
    seen: set[str] = set()
    parameters = []
    for name, case in cases.items():
        parameters.append(pytest.param(name, marks=[pytest.mark.slow] if answer(case) in seen else []))
        seen.add(answer(case))
    return parameters


# Faults in the answer to the question for a commit, and the expected message.
AT_RESOLUTION: dict[str, tuple[dict[str, Any], str]] = {
    "silent": ({"stall": "silent"}, "did not answer within 1 s"),
    "headers byte by byte": ({"stall": "headers"}, "did not answer within 1 s"),
    "body byte by byte": ({"stall": "trickle"}, "did not answer within 1 s"),
    "500": ({"status": 500}, "has an internal error (status 500)"),
    "502 with a page": ({"status": 502, "body": b"<html>bad gateway</html>"}, "has an internal error (status 502)"),
    "503": ({"status": 503, "headers": {"Retry-After": "3600"}}, "has an internal error (status 503)"),
    "429": ({"status": 429, "headers": {"Retry-After": "86400"}}, "too many requests"),
    "401": ({"status": 401}, "refuses access (401)"),
    "403": ({"status": 403}, "refuses access (403)"),
    "gated": ({"status": 403, "headers": {"X-Error-Code": "GatedRepo"}}, "gated: ask for access"),
    "404": ({"status": 404, "headers": {"X-Error-Code": "RepoNotFound"}}, "no such name"),
    "redirected in a circle": ({"status": 302, "headers": {"Location": "/api/models/x/y"}}, "no such name"),
    "empty": ({"status": 200}, "malformed"),
    "no JSON": ({"status": 200, "body": b"<html>log in to the Wi-Fi</html>"}, "not JSON"),
    "another JSON": ({"status": 200, "body": b"[1, 2]"}, "malformed"),
    "no commit": ({"status": 200, "body": b'{"id": "x/y"}'}, "malformed"),
    "a commit that is none": ({"status": 200, "body": b'{"id": "x/y", "sha": "../../../evil"}'}, "malformed"),
    "a commit of another type": ({"status": 200, "body": b'{"id": "x/y", "sha": 5}'}, "malformed"),
    "siblings of another type": ({"status": 200, "body": b'{"id": "x", "siblings": "abc"}'}, "malformed"),
    "nested too deep": ({"status": 200, "body": b"[" * 200_000}, "malformed"),
    "cut short": ({"length_off": 10}, "broke off"),
}


@pytest.mark.parametrize("case", one_of_each_answer(AT_RESOLUTION, lambda case: case[1]))
def test_trouble_at_resolution_is_one_message_and_auto_goes_on_without(
    paths: Paths, hub: HubServer, tmp_path: Path, case: str
) -> None:
    """SOURCE=hub ends in time with the cause and a remedy; SOURCE=auto takes embedded and says why."""
    what, said = AT_RESOLUTION[case]
    timeout_s = 1.0 if "stall" in what else PATIENT_S
    with hub.fault(r"GET /api/models/distilbert", **what):
        started_s = time.monotonic()
        message = _message(paths, hub, tmp_path, timeout_s=timeout_s)
        assert time.monotonic() - started_s < LONGEST_S
        assert f"{MODEL}: " in message
        assert said in message
        assert "SOURCE=embedded" in message
        resolved = resolve_source("auto", paths, timeout_s=timeout_s)
    assert resolved.config.name == "embedded"
    assert said in resolved.reason
    assert DATASET not in resolved.reason
    _check_discreet(resolved.reason, hub, tmp_path)


# Faults in a download, the request that they hit, and the expected message.
IN_A_DOWNLOAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "listing silent": ("GET .*/tree/", {"stall": "silent"}, "stalled"),
    "listing byte by byte": ("GET .*/tree/", {"stall": "trickle"}, "stalled"),
    "listing without end": (
        "GET .*/tree/",
        {"status": 200, "body": b"[]", "headers": {"Link": '<{url}/api/models/x/y/tree/main>; rel="next"'}},
        "stalled",
    ),
    "listing 500": ("GET .*/tree/", {"status": 500}, "stalled"),
    "listing no JSON": ("GET .*/tree/", {"status": 200, "body": b"<html>"}, "not JSON"),
    "listing of another shape": ("GET .*/tree/", {"status": 200, "body": b'[{"type": "file"}]'}, "malformed"),
    "listing of texts": ("GET .*/tree/", {"status": 200, "body": b'["config.json"]'}, "malformed"),
    "HEAD silent": ("HEAD", {"stall": "silent"}, "stalled"),
    "HEAD byte by byte": ("HEAD", {"stall": "headers"}, "stalled"),
    "HEAD 503": ("HEAD .*config.json", {"status": 503}, "stalled"),
    "HEAD 404": ("HEAD .*/config.json", {"status": 404, "headers": {"X-Error-Code": "EntryNotFound"}}, "does not have"),
    "HEAD 403": ("HEAD .*/config.json", {"status": 403}, "refuses access (403)"),
    "HEAD without ETag": ("HEAD", {"status": 200}, "what answered is not a Hub"),
    "asked to wait for a day": ("HEAD|GET /store/", {"status": 429, "headers": {"Retry-After": "86400"}}, "86400 s"),
    "file silent": ("GET /store/", {"stall": "silent"}, "stalled"),
    "file byte by byte": ("GET /store/", {"stall": "trickle"}, "stalled"),
    "file 500": ("GET /store/", {"status": 500}, "status 500"),
    "file empty": ("GET /store/", {"status": 200}, "size that the Hub announced"),
    "file longer than said": ("GET /store/", {"length_off": -1}, "size that the Hub announced"),
}


@pytest.mark.parametrize("case", one_of_each_answer(IN_A_DOWNLOAD, lambda case: case[2]))
def test_trouble_in_a_download_is_one_message_and_the_next_try_succeeds(
    paths: Paths, hub: HubServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """A failing fetch ends with a message, even if the Hub would never end; no part of it counts as whole."""
    where, what, said = IN_A_DOWNLOAD[case]
    headers = {key: value.format(url=hub.url) for key, value in what.get("headers", {}).items()}
    with hub.fault(where, **what | {"headers": headers}):
        started_s = time.monotonic()
        if said == "stalled":
            monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", STALLED_S)
        message = _message(paths, hub, tmp_path)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", PATIENT_S)
        assert time.monotonic() - started_s < LONGEST_S
    assert message.startswith(f"{MODEL} cannot be downloaded from the Hub: ")
    assert said in message
    wait_until(lambda: not list(cache.rglob("*.incomplete")))  # abandoned threads end at their next read
    assert _fetch(paths).base_model.name == COMMIT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_breaks_off_again_and_again_ends(
    paths: Paths, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    """A file arrives if each try continues the last, and is given up if each breaks at the same byte."""
    hub.ranges = ranges
    if ranges:
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 65_536)  # the client continues from a whole chunk
    else:
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", STALLED_S)
    with hub.fault("GET /store/", break_after=600_000):
        if ranges:
            assert _fetch(paths).base_model.name == COMMIT
        else:
            assert "stalled: nothing new has come" in _message(paths, hub, tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.txt"])
def test_a_model_that_disagrees_with_its_checksum_is_refused_and_fetched_anew(
    paths: Paths, hub: HubServer, cache: Path, tmp_path: Path, name: str
) -> None:
    """A flipped bit of the same length, in a large or a small file, is named, and the file is removed."""
    where = "GET /store/" if name.endswith(".safetensors") else f"GET .*/{name}"
    with hub.fault(where, flip=True, n_times=1):
        message = _message(paths, hub, tmp_path)
    assert f"{MODEL}: what lies in the Hub's cache is not what the Hub published" in message
    assert f"{name}: expected {'sha256' if 'safetensors' in name else 'git-sha1'}" in message
    assert "run again to fetch it again" in message
    hub.requests.clear()
    assert (_fetch(paths).base_model / name).read_bytes() == (hub.repos[f"models/{MODEL}"] / name).read_bytes()
    small = [request for request in hub.requests if request.startswith("GET /distilbert")]
    assert len(small) == (0 if name.endswith(".safetensors") else 1)  # whole files are not sent again


def test_data_that_disagree_with_their_checksum_are_refused(
    paths: Paths, hub: HubServer, cache: Path, tmp_path: Path
) -> None:
    """Data with a wrong checksum are refused, as weights are."""
    _fetch(paths)
    shutil.rmtree(cache / "datasets--stanfordnlp--imdb")
    with hub.fault("GET /store/", flip=True, n_times=1):
        message = _message(paths, hub, tmp_path)
    assert f"{DATASET}: what lies in the Hub's cache" in message
    assert "plain_text/" in message
    _fetch(paths)


def test_a_file_that_rots_in_the_cache_is_found(
    paths: Paths, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was right on arrival is checked again, without network; a damaged one counts as missing."""
    weights = _fetch(paths).base_model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 16
    weights.resolve().write_bytes(content)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "model.safetensors: expected sha256" in _message(paths, hub, tmp_path)
    assert "HF_HUB_OFFLINE forbids asking it" in _message(paths, hub, tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    _fetch(paths)


@pytest.mark.parametrize("etag", ["2f1f5e", "0" * 32, "f" * 40, 'W/"abc-1"'])
def test_an_etag_that_is_no_checksum_is_no_reason_to_refuse(paths: Paths, hub: HubServer, etag: str) -> None:
    """A mirror may name its files freely: only a name that is certainly a checksum is compared."""
    headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
    config = (hub.repos[f"models/{MODEL}"] / "config.json").read_bytes()
    with hub.fault(r"(HEAD|GET) /distilbert.*/config\.json", status=200, headers=headers, body=config):
        assert json.loads((_fetch(paths).base_model / "config.json").read_text("utf-8"))["dim"] == 8


def test_a_full_cache_serves_offline_and_is_not_written(
    paths: Paths, hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With HF_HUB_OFFLINE and a full cache no request is sent, and no file of the cache changes."""
    first = _fetch(paths)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    before = {path: path.lstat().st_mtime_ns for path in cache.rglob("*")}
    assert _fetch(paths) == first
    assert _fetch(paths, "auto") == first
    assert {path: path.lstat().st_mtime_ns for path in cache.rglob("*")} == before
    assert not hub.requests


def test_an_incomplete_cache_is_not_enough_offline(
    paths: Paths, hub: HubServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing file is named, even one that not every model has; auto takes embedded."""
    (_fetch(paths).base_model / "tokenizer_config.json").unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert f"{MODEL}: not in the Hub's cache, and HF_HUB_OFFLINE forbids asking it" in _message(paths, hub, tmp_path)
    assert resolve_source("auto", paths).config.name == "embedded"


@pytest.mark.parametrize("note", ["", "../..", "main", "é" * 40])
def test_a_damaged_note_of_a_branch_leads_nowhere(paths: Paths, hub: HubServer, cache: Path, note: str) -> None:
    """A note of the main branch that does not hold a commit is ignored."""
    _fetch(paths)
    for repository in ("models--distilbert--distilbert-base-cased", "datasets--stanfordnlp--imdb"):
        (cache / repository / "refs" / "main").write_text(note, "utf-8")
    hub.requests.clear()
    resolved = resolve_source("hub", paths, timeout_s=PATIENT_S)
    assert (resolved.base_model.revision, resolved.dataset.revision) == (COMMIT, COMMIT)
    assert len([request for request in hub.requests if "/api/" in request]) == 2
    fetch_source(resolved)


def test_a_cache_that_cannot_be_written_is_said(paths: Paths, hub: HubServer, cache: Path, tmp_path: Path) -> None:
    """An error of this machine's disk is reported as such, not as an error of the Hub."""
    cache.write_text("a file where the folder should be", "utf-8")
    assert "the Hub's cache (HF_HOME) cannot be used: " in _message(paths, hub, tmp_path)


def test_what_killed_downloads_left_is_removed(paths: Paths, cache: Path) -> None:
    """An old unfinished file is removed, because the client never continues it; one that is being written stays."""
    blobs = cache / "models--distilbert--distilbert-base-cased" / "blobs"
    blobs.mkdir(parents=True)
    old, new = blobs / "a.1.incomplete", blobs / "b.2.incomplete"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    _fetch(paths)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_branch_that_moves_on_is_seen_where_the_cache_does_not_hold_it(
    paths: Paths, hub: HubServer, cache: Path, tmp_path: Path
) -> None:
    """A full cache keeps its commit, an empty one gets the new commit and identity, and a pinned one stays."""
    before = resolve_source("hub", paths)
    fetch_source(before)
    hub.commit = LATER_COMMIT
    assert resolve_source("hub", paths).data_identity() == before.data_identity()
    pinned = tmp_path / "pinned.yaml"
    text = (paths.experiments / "sources" / "hub.yaml").read_text("utf-8")
    pinned.write_text(f"{text}base_model_revision: '{COMMIT}'\ndataset_revision: '{COMMIT}'\n", "utf-8")
    shutil.rmtree(cache)
    assert resolve_source("hub", paths).data_identity()["base_model"] == f"hub:{LATER_COMMIT}"
    assert resolve_source(str(pinned), paths).data_identity() == before.data_identity()
    assert _fetch(paths, str(pinned)).base_model.name == COMMIT


@pytest.mark.parametrize("name", ["../../evil.json", "{folder}/evil.json", "a/../../../evil.json", "C:\\evil.json"])
def test_a_name_that_leads_out_of_the_cache_is_not_written(
    paths: Paths, hub: HubServer, tmp_path: Path, name: str
) -> None:
    """A listing with such a name is refused as a whole, and no file of that name is written."""
    hub.extra_names.append(name.format(folder=tmp_path))
    _message(paths, hub, tmp_path)
    assert not [path for path in tmp_path.rglob("*evil*") if path.is_file()]


def test_a_model_with_pickled_weights_only_is_refused(paths: Paths, hub: HubServer, tmp_path: Path) -> None:
    """The missing files are named, and the pickle is not even fetched."""
    (hub.repos[f"models/{MODEL}"] / "model.safetensors").unlink()
    message = _message(paths, hub, tmp_path)
    assert f"{MODEL} is not a model in Transformers' format" in message
    assert "missing: model.safetensors" in message
    assert not any(".bin" in request for request in hub.requests)


def test_the_client_gives_up_only_where_it_must(hub: HubServer) -> None:
    """A request of another library, outside a download, has the client's usual limits."""
    from huggingface_hub import get_session

    from adapterbook.sources.hub_patience import limit_patience

    limit_patience()
    with hub.fault("HEAD", status=429, headers={"Retry-After": "86400"}):
        assert get_session().head(hub.url + "/x/y/resolve/main/z").status_code == 429
    with get_session().stream("GET", hub.url + f"/{MODEL}/resolve/main/config.json") as response:
        assert isinstance(response, httpx2.Response)
        assert json.loads(response.read())["dim"] == 8
