"""Make a study of other data, which is read before anything is put in place, and overwrite nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from adapterbook.commands.new_study import Answers, create_study
from adapterbook.common.errors import AdapterBookError
from adapterbook.config.book import load_book
from adapterbook.config.paths import Paths
from adapterbook.config.source import load_source
from adapterbook.config.study import load_adapters, load_study
from tests.support.factory import PROJECT
from tests.support.tiny_models import make_base_model, make_tokenizer


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Return the answers of a study of 1,400 spam mails, in a project with the shipped protocol."""
    monkeypatch.setenv("ADAPTERBOOK_CACHE", str(tmp_path / "cache"))
    shutil.copytree(PROJECT.experiments / "adapters", tmp_path / "experiments" / "adapters")
    shutil.copy(PROJECT.study, tmp_path / "experiments")
    (tmp_path / "mails").mkdir()
    rows = {"body": [f"mail number {i}" for i in range(1400)], "kind": ["ham", "spam"] * 700}
    pd.DataFrame(rows).to_parquet(tmp_path / "mails" / "train.parquet", index=False)
    make_base_model(tmp_path / "model", "distilbert")
    make_tokenizer(tmp_path / "model")
    return Answers(
        "spam", str(tmp_path / "model"), str(tmp_path / "mails"), "body", "kind", "ham=正常|ham, spam=垃圾|spam",
        "垃圾信|Spam", "Ming Li",
    )  # fmt: skip


def test_a_study_holds_what_differs(answers: Answers, tmp_path: Path) -> None:
    """Its files are valid, name what was answered, and begin with the project's protocol and adapters."""
    paths = Paths(create_study(answers, tmp_path))
    source, book = load_source(paths.experiments / "sources" / "spam.yaml"), load_book(paths.book)
    assert source.labels is not None
    assert (source.text_column, source.label_column, source.labels["spam"].zh) == ("body", "kind", "垃圾")
    assert (book.title.en, book.author and book.author.zh) == ("Spam", "Ming Li")
    assert load_study(paths.study) == load_study(PROJECT.study)
    assert load_adapters(paths.experiments / "adapters") == load_adapters(PROJECT.experiments / "adapters")
    assert "SOURCE ?= spam\n" in (paths.root / "Makefile").read_text("utf-8")
    assert {path.name for path in paths.root.iterdir()} == {"Makefile", "book.yaml", "experiments"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_column": "text"}, "expected a column 'text', got 'body', 'kind': mend TEXT_COLUMN"),
        ({"labels": "ham=x, eggs=y"}, "eggs"),
        ({"labels": "ham=x"}, "LABELS: .*at least 2"),
        ({"base_model": "embedded/none"}, "BASE_MODEL: expected one of"),
        ({"labels": "ham"}, "LABELS: expected a list such as"),
        ({"name": "a b"}, "NAME: expected the name"),
        ({"name": ""}, "got nothing"),
        ({"dataset": ""}, "DATASET: expected"),
        ({"model": "nowhere"}, "FROM: expected the folder of a study"),
    ],
)
def test_a_wrong_answer_is_one_message_and_no_study(
    answers: Answers, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    """The message names what was expected; nothing is half-written."""
    with pytest.raises(AdapterBookError, match=message) as found:
        create_study(replace(answers, **changes), tmp_path)
    assert ".cache" not in str(found.value)
    assert [path for path in tmp_path.glob("studies/**/*") if path.is_file()] == []


def test_a_taken_name_is_refused(answers: Answers, tmp_path: Path) -> None:
    """What a person wrote there stays."""
    (tmp_path / "studies" / "Spam").mkdir(parents=True)
    (tmp_path / "studies" / "Spam" / "book.yaml").write_text("mine")
    with pytest.raises(AdapterBookError, match="studies/spam exists: take another name"):
        create_study(answers, tmp_path)
    assert (tmp_path / "studies" / "Spam" / "book.yaml").read_text() == "mine"
