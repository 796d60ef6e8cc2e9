"""push.py: adapters go to the Hub, through the real client, to a Hub on loopback; and only those that may."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from safetensors.numpy import save_file

from adapterbook.config.paths import Paths
from adapterbook.runs.model_card import write_model_card
from adapterbook.runs.plan import compute_stamps, plan_runs
from adapterbook.runs.record import load_record, seal_record, write_record
from adapterbook.runs.select import load_project
from adapterbook.sources.resolve import resolve_source
from tests.support.factory import PROJECT, write_results
from tests.support.hub_server import HubServer, serve_hub
from tests.support.small_project import run_adapterbook

VARIANTS = {
    "submitted": {"title": "As submitted"},
    "lr-1e-3": {"title": "Higher", "training": {"learning_rate": 1.0e-3}},
}
TOKEN = "hf_of_a_test"
FILES = {"README.md", "adapter_config.json", "adapter_model.safetensors", "record.json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A project of made-up runs that are up to date and sealed: two adapters and the baselines, two variants."""
    root = tmp_path_factory.mktemp("project")
    paths = write_results(root, adapters=["lora_1", "ia3", "head_only", "full"], variants=VARIANTS, n_test=64)
    shutil.copy(PROJECT.notebook, paths.notebook)
    shutil.copy(PROJECT.root / "_quarto.yml", root)
    identity = resolve_source("embedded", paths).data_identity()
    study, adapters = load_project(paths)
    for number, run in enumerate(plan_runs(study, adapters, "embedded")):
        folder = run.folder(paths)
        record = load_record(folder).model_copy(update={"stamps": compute_stamps(run, paths, identity)})
        weights = {"weight": np.full((4, 4), number, dtype=np.float32)}
        save_file(weights, folder / "adapter" / "adapter_model.safetensors")
        (folder / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA"}', "utf-8")
        write_model_card(record, folder / "adapter")
        write_record(seal_record(record, folder), folder)
    return paths


@pytest.fixture
def project(made: Paths, tmp_path: Path) -> Paths:
    """A copy of that project."""
    return Paths(Path(shutil.copytree(made.root, tmp_path / "project")))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    """A Hub with nothing on it that ``ming`` may write to."""
    (tmp_path / "hub").mkdir()
    with serve_hub({}, uploads=tmp_path / "hub") as server:
        yield server


def push(paths: Paths, hub: HubServer | None, *arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """Run the command as `make` does."""
    home = paths.root / "home"
    environment = {
        "HF_ENDPOINT": hub.url if hub else "http://127.0.0.1:9",
        "HF_HOME": str(home),
        "HF_TOKEN": token,
        "NAMESPACE": "ming",
        "SOURCE": "auto",
    }
    return run_adapterbook(paths, "push-adapters", *arguments, **environment)


def uploaded(hub: HubServer, repository: str) -> dict[str, bytes]:
    """Return what lies in a repository."""
    return {path.name: path.read_bytes() for path in hub.repos[f"models/{repository}"].iterdir()}


def run_on(card: bytes) -> str:
    """Return the run that a card is of, as the Hub's client reads it."""
    data = ModelCard(card.decode()).data
    assert isinstance(data, ModelCardData)
    return str(data.model_name)


def test_each_adapter_s_best_run_goes_with_card_and_record(project: Paths, hub: HubServer) -> None:
    """One repository an adapter, every byte as in the run's folder; the baseline, which is no adapter, stays here."""
    done = push(project, hub)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(hub.repos) == ["models/ming/adapterbook-ia3", "models/ming/adapterbook-lora_1"]
    for adapter in ("ia3", "lora_1"):
        files = uploaded(hub, f"ming/adapterbook-{adapter}")
        assert set(files) == FILES
        name = run_on(files["README.md"])
        folder = project.results / "embedded" / name
        assert name.startswith(f"{adapter}/")
        assert files["record.json"] == (folder / "record.json").read_bytes()
        for file in FILES - {"record.json"}:
            assert files[file] == (folder / "adapter" / file).read_bytes()
        digest = hashlib.sha256(files["adapter_model.safetensors"]).hexdigest()
        assert load_record(folder).files["adapter/adapter_model.safetensors"] == digest
        assert f"{hub.url}/ming/adapterbook-{adapter}" in done.stdout
    assert hub.tokens_elsewhere == []
    assert hub.private == set()


def test_a_second_upload_changes_nothing(project: Paths, hub: HubServer) -> None:
    """The variant with the lowest validation loss goes, as on the pages; what is there is not sent again."""
    assert push(project, hub).returncode == 0
    for adapter in ("ia3", "lora_1"):
        best = {}
        for variant in VARIANTS:
            record = load_record(project.results / "embedded" / adapter / variant / "seed-224")
            best[variant] = min(epoch.validation_loss for epoch in record.epochs if epoch.validation_loss is not None)
        name = run_on(uploaded(hub, f"ming/adapterbook-{adapter}")["README.md"])
        assert name == f"{adapter}/{min(best, key=best.__getitem__)}/seed-224"

    before, n_puts = list(hub.commits), sum(request.startswith("PUT") for request in hub.requests)
    assert len(before) == 2
    assert push(project, hub).returncode == 0
    assert hub.commits == before
    assert sum(request.startswith("PUT") for request in hub.requests) == n_puts == 2


def test_a_dry_run_asks_nobody(project: Paths, hub: HubServer) -> None:
    """It shows what would go, with neither a token nor a namespace."""
    done = push(project, hub, "--dry-run", "yes", "--namespace", "", token="")
    assert done.returncode == 0, done.stderr
    assert "adapterbook-lora_1  from lora_1/" in done.stdout
    assert "nothing was uploaded" in done.stdout
    assert hub.requests == []


@pytest.mark.slow
def test_names_and_privacy_are_settings(project: Paths, hub: HubServer) -> None:
    """REPO_PREFIX and PRIVATE."""
    done = push(project, hub, "--repo-prefix", "reviews", "--private", "yes")
    assert done.returncode == 0, done.stderr
    assert hub.private == {"ming/reviews-ia3", "ming/reviews-lora_1"}


def test_a_stale_or_altered_run_stays_here(project: Paths, hub: HubServer) -> None:
    """A setting that changed since, or a file that is not the record's: named, left out, and the exit status is 1."""
    (file,) = project.results.glob("embedded/ia3/lr-1e-3/seed-224/adapter/adapter_model.safetensors")
    (other,) = project.results.glob("embedded/ia3/submitted/seed-224/adapter/adapter_model.safetensors")
    for path in (file, other):
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    adapter = project.experiments / "adapters" / "lora_1.yaml"
    adapter.write_text(adapter.read_text("utf-8").replace("r: 64", "r: 32"), "utf-8")
    done = push(project, hub)
    assert done.returncode == 1
    assert "No adapter can be uploaded" in done.stdout
    assert "adapter/adapter_model.safetensors was changed after the run ended" in done.stdout
    assert "is stale (config): run `make train`" in done.stdout
    assert hub.requests == []


@pytest.mark.slow
def test_others_go_where_one_is_left_out(project: Paths, hub: HubServer) -> None:
    """An adapter whose card is missing stays here, and the other one goes."""
    for path in project.results.glob("embedded/ia3/*/seed-224"):
        (path / "adapter" / "README.md").unlink()
        write_record(seal_record(load_record(path), path), path)
    done = push(project, hub)
    assert done.returncode == 1
    assert "ia3: " in done.stdout
    assert "has no adapter/README.md" in done.stdout
    assert list(hub.repos) == ["models/ming/adapterbook-lora_1"]


def test_without_a_token_it_says_where_to_get_one(project: Paths, hub: HubServer) -> None:
    """No token in the usual places."""
    done = push(project, hub, token="")
    assert done.returncode == 2
    assert "hf auth login" in done.stderr
    assert "Traceback" not in done.stderr
    assert hub.requests == []


@pytest.mark.slow
def test_the_token_is_taken_from_its_usual_place(project: Paths, hub: HubServer) -> None:
    """Where `hf auth login` leaves it."""
    (project.root / "home").mkdir()
    (project.root / "home" / "token").write_text(TOKEN, "utf-8")
    assert push(project, hub, token="").returncode == 0
    assert len(hub.commits) == 2


def test_without_a_namespace_nothing_goes(project: Paths, hub: HubServer) -> None:
    """Whose repositories they are has to be said."""
    done = push(project, hub, "--namespace", "")
    assert done.returncode == 2
    assert "make push-adapters NAMESPACE=" in done.stderr
    assert hub.requests == []


@pytest.mark.parametrize("namespace", ["a b", "../x"])
def test_a_namespace_that_the_hub_does_not_take_is_refused_here(project: Paths, hub: HubServer, namespace: str) -> None:
    """Before anybody is asked."""
    done = push(project, hub, "--namespace", namespace)
    assert done.returncode == 2
    assert "give names that the Hub does not accept" in done.stderr
    assert hub.requests == []


@pytest.mark.parametrize(
    ("namespace", "token", "message"),
    [
        ("ming", "hf_wrong_secret", "the Hub refuses (401): is the token valid, and may it write to ming?"),
        pytest.param(
            "someone",
            TOKEN,
            "the Hub refuses (403): is the token valid, and may it write to someone?",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_refusal_is_explained_and_no_token_is_said(
    project: Paths, hub: HubServer, namespace: str, token: str, message: str
) -> None:
    """A wrong token, a namespace of somebody else."""
    done = push(project, hub, "--namespace", namespace, token=token)
    assert done.returncode == 2
    assert message in done.stderr
    assert "0 of 2 adapters were uploaded" in done.stderr
    assert token not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_no_hub_is_an_error_that_says_so(project: Paths) -> None:
    """A closed port: one line, no traceback, no token."""
    done = push(project, None)
    assert done.returncode == 2
    assert "the Hub was not reached" in done.stderr
    assert "cache" not in done.stderr
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.slow
def test_an_upload_that_breaks_off_leaves_no_half_adapter(project: Paths, hub: HubServer) -> None:
    """A large file that does not arrive is never committed; the same command again finishes the work."""
    with hub.fault("PUT /store/", status=403):
        done = push(project, hub)
    assert done.returncode == 2
    assert hub.commits == []
    assert push(project, hub).returncode == 0
    assert len(hub.commits) == 2


@pytest.mark.slow
def test_a_card_that_the_hub_does_not_take_is_no_traceback(project: Paths, hub: HubServer) -> None:
    """The Hub checks the metadata before it takes anything."""
    with hub.fault("POST /api/validate-yaml", status=400, body=b'{"errors": [{"message": "bad"}], "warnings": []}'):
        done = push(project, hub)
    assert done.returncode == 2
    assert "cannot be uploaded" in done.stderr
    assert hub.commits == []


@pytest.mark.parametrize("name", ["PRIVATE", pytest.param("DRY_RUN", marks=pytest.mark.slow)])
def test_yes_or_no_is_asked_for(project: Paths, name: str) -> None:
    """Any other word could mean either."""
    done = push(project, None, f"--{name.lower().replace('_', '-')}", "perhaps")
    assert done.returncode == 2
    assert f"{name}='perhaps': expected yes or no" in done.stderr


def test_the_card_in_the_repository_is_what_the_study_says(project: Paths) -> None:
    """Nothing on a card is of the machine that made it."""
    home = str(Path.home())
    for card in project.results.rglob("adapter/README.md"):
        text = card.read_text("utf-8")
        assert str(project.root) not in text
        assert home not in text
        assert yaml.safe_load(text.split("\n---\n")[0][4:])["library_name"] == "peft"
