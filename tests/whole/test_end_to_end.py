"""From YAML files to the bilingual site, for real, at a small scale."""

import json
import math
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from peft import PeftModel
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoTokenizer, Trainer, TrainingArguments

from adapterbook.config.paths import Paths
from adapterbook.config.source import load_source
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import load_record
from adapterbook.site.links import find_site_problems
from adapterbook.training.data import load_splits
from adapterbook.training.model import load_base_model
from tests.support.browser import open_browser, visit
from tests.support.card_code import install_base_model, run_card_code
from tests.support.small_project import copy_project, run_adapterbook

RUNS = {f"{adapter}/submitted/seed-224" for adapter in ("dora", "head_only", "ia3", "lora_1", "prompt")} | {
    f"{adapter}/lr-1e-3/seed-224" for adapter in ("head_only", "ia3", "lora_1")
}


@pytest.fixture
def made(made_project: Paths) -> Paths:
    """The small project after `all`, to read."""
    return made_project


@pytest.fixture
def copied(made_project: Paths, tmp_path: Path) -> Paths:
    """A copy of the small project after `all`, to change."""
    return copy_project(made_project, tmp_path / "project")


def _folders(paths: Paths) -> dict[str, Path]:
    results = paths.results / "embedded"
    return {path.parent.relative_to(results).as_posix(): path.parent for path in results.glob("*/*/*/record.json")}


def test_every_run_completed_with_all_it_leaves_behind(made: Paths) -> None:
    """Record, predictions, notebook and adapter of each run; two epochs; nothing else."""
    folders = _folders(made)
    assert set(folders) == RUNS
    for folder in folders.values():
        record = load_record(folder)
        assert (record.status, len(record.epochs)) == ("completed", 2)
        assert all(epoch.validation_loss is not None and epoch.train_loss is not None for epoch in record.epochs)
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert files == {
            "record.json",
            "predictions.parquet",
            "notebook.ipynb",
            "adapter/README.md",
            "adapter/adapter_config.json",
            "adapter/adapter_model.safetensors",
        }


def test_a_record_s_test_metrics_are_those_of_its_predictions(made: Paths) -> None:
    """Accuracy, F1 and loss follow from predictions.parquet, by scikit-learn and by hand."""
    for folder in _folders(made).values():
        record, table = load_record(folder), load_predictions(folder)
        assert record.test is not None
        right = [p if label else 1 - p for label, p in zip(table["label"], table["probability"], strict=True)]
        assert record.test.n == len(table) == 32
        assert record.test.accuracy == accuracy_score(table["label"], table["prediction"])
        assert record.test.f1 == pytest.approx(f1_score(table["label"], table["prediction"], zero_division=0.0))
        assert record.test.loss == pytest.approx(-sum(map(math.log, right)) / len(right), abs=1e-6)


def test_parameters_are_counted_apart(made: Paths) -> None:
    """In six layers of 384, LoRA has r (d_in + d_out) a module, IA3 a vector a module, DoRA one more than LoRA.

    Prompt tuning has one vector of 384 a token.
    """
    counts = {name.split("/")[0]: load_record(folder) for name, folder in _folders(made).items()}
    head = 384 * 384 + 384 + 384 * 2 + 2
    lora, ia3 = 6 * 4 * 64 * (384 + 384), 6 * (4 * 384 + 384 + 1536)
    assert {name: record.n_adapter_params for name, record in counts.items()} == {
        "lora_1": lora,
        "ia3": ia3,
        "dora": lora + 6 * 4 * 384,
        "head_only": 0,
        "prompt": 4 * 384,
    }
    assert {record.n_head_params for record in counts.values()} == {head}
    assert all(record.n_trainable_params == (record.n_adapter_params or 0) + head for record in counts.values())


def test_no_run_s_test_rows_were_trained_or_selected_on(made: Paths) -> None:
    """No test sentence is a training or validation sentence, and all runs have the same ones."""
    tables = [load_predictions(folder) for folder in _folders(made).values()]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(tables[0][["row_id", "text", "label"]], table[["row_id", "text", "label"]])


def test_a_saved_adapter_over_the_base_model_gives_the_record_s_accuracy(
    made: Paths, embedded_model: Path, embedded_dataset: Path, tmp_path: Path
) -> None:
    """PeftModel.from_pretrained is all that anybody needs, with every method."""
    submitted = {name: folder for name, folder in _folders(made).items() if "/submitted/" in name}
    assert len(submitted) == 5
    for name, folder in submitted.items():
        record = load_record(folder)
        assert record.test is not None
        splits = load_splits(embedded_dataset, load_source(made.experiments / "sources/embedded.yaml"), record.data)
        tokenizer = AutoTokenizer.from_pretrained(embedded_model)
        test = splits["test"].map(lambda rows: tokenizer(rows["text"], truncation=True), batched=True)  # noqa: B023
        test = test.rename_column("label", "labels").remove_columns(["row_id", "text"])
        model = PeftModel.from_pretrained(load_base_model(embedded_model, seed=0), str(folder / "adapter"))
        arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none", disable_tqdm=True,
                                      label_names=["labels"], dataloader_pin_memory=False)  # fmt: skip
        trainer = Trainer(model=model, args=arguments, processing_class=tokenizer)
        logits = np.asarray(trainer.predict(test).predictions)
        assert accuracy_score(splits["test"]["label"], logits.argmax(-1)) == record.test.accuracy, name


@pytest.mark.slow
def test_the_model_card_s_code_gives_the_record_s_predictions(made: Paths, tmp_path: Path) -> None:
    """The code on an adapter's card gives a test sentence the probability that predictions.parquet holds."""
    folder = _folders(made)["lora_1/lr-1e-3/seed-224"]
    row = load_predictions(folder).iloc[0]
    card = (folder / "adapter" / "README.md").read_text("utf-8")
    packages = install_base_model(tmp_path)
    _, positive = run_card_code(card, folder / "adapter", packages, tmp_path, text=row["text"])
    assert positive == pytest.approx(row["probability"], abs=1e-4)


@pytest.mark.slow  # `verify` trains a run again in test_verify_end_to_end.py
def test_a_run_again_is_the_same_bit_for_bit(copied: Paths) -> None:
    """A run that is trained twice has the same curves, predictions and adapter, with one worker or two."""
    name = "ia3/lr-1e-3/seed-224"
    folder = _folders(copied)[name]
    before, weights = load_record(folder), (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    predictions = load_predictions(folder)
    shutil.rmtree(folder)
    done = run_adapterbook(copied, "train", JOBS="1")
    assert "1 of 8 runs are to be trained" in done.stdout, done.stdout + done.stderr
    after = load_record(folder)
    assert before.epochs == after.epochs
    assert (before.test, before.best, before.stamps) == (after.test, after.best, after.stamps)
    assert weights == (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    pd.testing.assert_frame_equal(predictions, load_predictions(folder))


@pytest.mark.slow
def test_only_what_is_left_to_do_is_done(copied: Paths) -> None:
    """Nothing changed: nothing trained. A template: none. An adapter's value: its runs. A broken value: exit 2."""
    records = {name: (folder / "record.json").read_bytes() for name, folder in _folders(copied).items()}

    def records_now() -> dict[str, bytes]:
        return {name: (folder / "record.json").read_bytes() for name, folder in _folders(copied).items()}

    template = copied.templates / "pages" / "overview.qmd.j2"
    template.write_text(template.read_text("utf-8") + "\nOne sentence more.\n", "utf-8")
    done = run_adapterbook(copied, "all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 8 runs are up to date: nothing to train." in done.stdout
    assert records == records_now()
    assert "One sentence more." in (copied.root / "_site/report/en/index.html").read_text("utf-8")

    adapter = copied.experiments / "adapters" / "ia3.yaml"
    text = adapter.read_text("utf-8")
    adapter.write_text(text.replace("target_modules: [q_lin, v_lin,", "target_modules: [q_lin,"), "utf-8")
    status = run_adapterbook(copied, "status")
    assert status.returncode == 1
    assert {line.split()[1] for line in status.stdout.splitlines() if "config" in line} == {
        "ia3/submitted/seed-224",
        "ia3/lr-1e-3/seed-224",
    }

    adapter.write_text(text.replace("q_lin, v_lin,", "q_proj, v_lin,").replace("task_type", "tsk_type"), "utf-8")
    done = run_adapterbook(copied, "all")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for part in ("experiments/adapters/ia3.yaml", "tsk_type: unknown key", "task_type", '"q_proj" matches no module'):
        assert part in done.stderr
    assert records == records_now()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SOURCE": "hub", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}, "SOURCE=embedded"),
        ({"SOURCE": "nowhere.yaml"}, "SOURCE=nowhere.yaml: expected auto, the name of a file in experiments/sources/"),
        ({"SEEDS": "one"}, "SEEDS='one': expected whole numbers"),
        ({"JOBS": "0", "SEEDS": "7"}, "JOBS=0: expected 1 or more"),
        ({"JOBS": "many"}, "JOBS='many': expected a whole number"),
    ],
)
def test_a_wrong_setting_gets_one_clear_message(
    made: Paths, tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    """Exit 2, no traceback, nothing written."""
    before = {path: path.stat().st_mtime_ns for path in made.experiments.rglob("record.json")}
    done = run_adapterbook(made, "train", **({"HF_HOME": str(tmp_path)} | environment))
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in made.experiments.rglob("record.json")}


# ---- the site


def _html(paths: Paths, language: str) -> dict[str, Path]:
    folder = paths.root / "_site" / "report" / language
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.html"))}


def test_both_languages_have_the_same_pages_and_a_pdf(made: Paths) -> None:
    """…among them one page per adapter and one per executed notebook."""
    chinese, english = _html(made, "zh"), _html(made, "en")
    assert set(chinese) == set(english)
    assert {"index.html", "method.html", "comparison.html", "reproduction.html", "adapters/dora.html"} <= set(english)
    assert len([name for name in english if name.startswith("notebooks/") and "seed" in name]) == len(RUNS)
    for language in ("zh", "en"):
        pdf = made.root / "_site" / f"report-{language}.pdf"
        assert pdf.read_bytes().startswith(b"%PDF")


def test_no_link_is_broken_and_no_other_host_is_asked(made: Paths) -> None:
    """Links, anchors, images, scripts and styles of every page."""
    assert find_site_problems(made.root / "_site") == []


class _Numbers(HTMLParser):
    """Collects each element that says which field of which run its text is."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str], str]] = []
        self._open: dict[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if "data-run" in values and "data-field" in values:
            self._open = values
            self.found.append((values, ""))

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.found[-1] = (self._open, self.found[-1][1] + data)

    def handle_endtag(self, tag: str) -> None:
        self._open = None


def _field(record: Any, path: str) -> Any:
    for part in path.split("."):
        record = record[int(part)] if part.isdigit() else record[part]
    return record


# What a reader would read off the page, written a second time and apart from the program's own formatting.
READ: dict[str, Callable[[str, Any], bool]] = {
    "percent": lambda shown, value: shown.rstrip("% ") == f"{100 * value:.1f}",
    "loss": lambda shown, value: shown == f"{value:.4f}",
    "proportion": lambda shown, value: shown == f"{value:.3f}",
    "count": lambda shown, value: shown.replace(",", "") == str(value),
    "plain": lambda shown, value: float(shown) == value,
}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_each_number_on_a_page_is_its_record_s(made: Paths, language: str) -> None:
    """Each number that names a run and a field is that field of that run's record, to the digits shown."""
    records = {name: json.loads((folder / "record.json").read_text("utf-8")) for name, folder in _folders(made).items()}
    seen: dict[str, set[str]] = {name: set() for name in records}
    for path in _html(made, language).values():
        parser = _Numbers()
        parser.feed(path.read_text("utf-8"))
        for values, shown in parser.found:
            value = _field(records[values["data-run"]], values["data-field"])
            seen[values["data-run"]].add(values["data-field"])
            check = READ.get(values["data-format"])
            if check is not None:
                assert check(shown.replace("\N{NO-BREAK SPACE}", " ").strip(), value), (path.name, values, shown, value)
            else:
                assert re.search(r"\d", shown), (path.name, values, shown)
    for fields in seen.values():
        assert {"test.accuracy", "epochs.0.train_loss", "epochs.1.validation_loss"} <= fields


@pytest.mark.slow
def test_the_site_in_a_browser(made: Paths) -> None:
    """A page of each kind, opened as a file, gives no message and asks no host, narrow or wide, light or dark."""
    names = [name for name in _html(made, "en") if "/" not in name]
    names += ["adapters/dora.html", "adapters/prompt.html", "notebooks/index.html"]
    names += ["notebooks/dora-submitted-seed-224.html"]
    with open_browser() as browser:
        for language, width, theme in (("zh", 390, "dark"), ("en", 1280, "light"), ("en", 390, "light")):
            pages = _html(made, language)
            for path in [made.root / "_site" / "index.html", *(pages[name] for name in names)]:
                with visit(browser, path, width=width, theme=theme) as opened:
                    assert opened.messages == [], path
                    assert all(url.startswith("file:") for url in opened.requests), path
                    assert not opened.scrolls_sideways(), (path, width)


@pytest.mark.slow  # for every page of the made-up study in test_site_browser.py
def test_one_click_to_the_same_page_in_the_other_language(made: Paths) -> None:
    """…and back."""
    with open_browser() as browser:
        for name in ("index.html", "adapters/ia3.html", "notebooks/index.html"):
            with visit(browser, _html(made, "zh")[name]) as opened:
                for expected in ("en", "zh-TW"):
                    opened.page.locator("a[hreflang]:visible").first.click()
                    opened.page.wait_for_load_state()
                    assert opened.page.locator("html").get_attribute("lang") == expected
                    assert opened.page.url.endswith(f"/report/{expected[:2]}/{name}")


def test_the_site_tells_no_name_of_the_machine_that_built_it(made: Paths) -> None:
    """Neither the project's folder nor the user's home, in any file."""
    names = [str(made.root).encode(), str(Path.home()).encode() + b"/"]
    for path in (made.root / "_site").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [name for name in names if name in content], path
