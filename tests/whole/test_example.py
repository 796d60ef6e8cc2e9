"""examples/: a study of another model family and another data set, trained by the real commands at a tiny size."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from adapterbook.commands.new_study import Answers, create_study
from adapterbook.commands.shared_files import copy_shared_files
from adapterbook.config.book import load_book
from adapterbook.config.paths import Paths
from adapterbook.config.source import load_source
from adapterbook.config.study import load_adapters, load_study
from adapterbook.runs.predictions import load_predictions
from adapterbook.runs.record import Record, load_record
from adapterbook.sources.packages import EMBEDDED
from tests.support.factory import PROJECT
from tests.support.small_project import run_adapterbook

EXAMPLES = sorted(path.parent for path in (PROJECT.root / "examples").glob("*/book.yaml"))
EXAMPLE = PROJECT.root / "examples" / "bert-products"
ADAPTERS = ["head_only", "ia3", "lora_all", "lora_query_value"]
# 12 rows and 1 epoch; of each batch size at least two batches.
SIZES = {"n_train": 12, "n_validation": 8, "n_test": 16}


def stage(root: Path) -> Paths:
    """Copy the example, without what lies there from earlier runs."""
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns(".*", "_site", "results"))
    copy_shared_files(Paths(root))
    return Paths(root)


def make_bert(folder: Path, tokenizer: Path) -> None:
    """Write a BERT with two layers of 16 dimensions; its weights are random numbers."""
    from transformers import BertConfig, BertModel, set_seed

    set_seed(0)
    config = BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64
    )
    BertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(tokenizer / name, folder)


def make_rows(folder: Path) -> None:
    """Write 60 short reviews of products."""
    folder.mkdir()
    texts = [
        f"the {'good' if i % 2 else 'bad'} zoom of camera number {i} {'works' if i % 2 else 'fails'}" for i in range(60)
    ]
    pd.DataFrame({"text": texts, "label": [i % 2 for i in range(60)]}).to_parquet(folder / "train.parquet", index=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Paths:
    """The example, on a tiny BERT and a few rows of its own, trained and rendered by `all`."""
    paths = stage(tmp_path_factory.mktemp("example") / "bert-products")
    make_bert(paths.root / "tiny-bert", embedded_model)
    make_rows(paths.root / "camera-reviews")
    file = paths.experiments / "sources" / "products.yaml"
    source = yaml.safe_load(file.read_text("utf-8")) | {
        "base_model": "../../tiny-bert",
        "dataset": "../../camera-reviews",
    }
    file.write_text(yaml.safe_dump(source), "utf-8")
    study = yaml.safe_load(paths.study.read_text("utf-8"))
    study["data"] |= SIZES
    study["training"]["num_train_epochs"] = 1
    study["variants"] = {"protocol": study["variants"]["protocol"]}
    paths.study.write_text(yaml.safe_dump(study, allow_unicode=True, sort_keys=False), "utf-8")
    done = run_adapterbook(paths, "all", SOURCE="products")
    assert done.returncode == 0, done.stdout + done.stderr
    return paths


def records_of(paths: Paths) -> dict[str, Record]:
    """Return the records by adapter."""
    records = [load_record(path.parent) for path in paths.results.glob("*/*/*/*/record.json")]
    return {record.adapter.id: record for record in records}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_s_files_are_valid(example: Path) -> None:
    """Every YAML file as shipped; an embedded name is one that there is."""
    paths = Paths(example)
    assert load_book(paths.book).title.zh != load_book(PROJECT.book).title.zh
    study = load_study(paths.study)
    assert len(study.variants) > 1 or study.search is not None
    assert load_adapters(paths.experiments / "adapters")
    sources = {file.stem: load_source(file) for file in (paths.experiments / "sources").glob("*.yaml")}
    names = {name for source in sources.values() for name in (source.base_model, source.dataset)}
    assert any(name in EMBEDDED for name in names)
    assert all(name in EMBEDDED for name in names if name.startswith("embedded/"))
    assert {source.name for source in sources.values()} == set(sources)  # as SOURCE names them


@pytest.mark.slow
def test_the_example_trains_a_bert(trained: Paths) -> None:
    """All four adapters, on modules that have BERT's names, and on the rows of another data set."""
    records = records_of(trained)
    assert sorted(records) == ADAPTERS
    for record in records.values():
        assert record.status == "completed"
        assert (record.source.base_model, record.source.dataset) == ("tiny-bert", "camera-reviews")
        assert record.test is not None
        assert record.test.n == SIZES["n_test"]
        assert record.train_cpu_s is not None and record.train_cpu_s > 0
        assert record.latency is not None and record.latency.merged_median_s is not None
    learned = {update.module for update in records["lora_query_value"].learned or ()}
    assert learned == {f"bert.encoder.layer.{i}.attention.self.{name}" for i in (0, 1) for name in ("query", "value")}
    # r (d_in + d_out) for each of 2 layers × 2 modules of 16 × 16.
    assert records["lora_query_value"].n_adapter_params == 2 * 2 * 8 * (16 + 16)
    assert records["head_only"].n_adapter_params == 0
    assert {record.n_head_params for record in records.values()} == {2 * 16 + 2}
    moved = [update.update_norm for update in records["lora_all"].learned or ()]
    assert len(moved) == 12
    assert min(moved) > 0
    of_rank_8 = [len(update.singular_values) for update in records["lora_query_value"].learned or ()]
    assert all(1 <= n <= 8 for n in of_rank_8)


@pytest.mark.slow
def test_the_example_has_its_own_report(trained: Paths) -> None:
    """Its title, its adapters, and the picture of a BERT's block; the project's own adapters are nowhere."""
    site = trained.root / "_site"
    for language, title in (("zh", "商品評論的轉接器"), ("en", "Adapters for product reviews")):
        overview = (site / "report" / language / "index.html").read_text("utf-8")
        assert title in overview
        assert "lora_1" not in overview
        method = "".join(path.read_text("utf-8") for path in (site / "report" / language).glob("*.html"))
        assert "attention.output.dense" in method
        assert "q_lin" not in method
        assert "DistilBERT" not in overview
        assert (site / f"report-{language}.pdf").stat().st_size > 50_000


@pytest.mark.slow
def test_the_code_on_a_model_card_does_what_the_record_says(trained: Paths, tmp_path: Path) -> None:
    """Copied as it stands, in either language, each card's code gives a test sentence its probability in the record."""
    shutil.copytree(trained.root / "tiny-bert", tmp_path / "tiny-bert")
    script, expected = "import os, torch; torch.set_printoptions(precision=8)\n", []
    for adapter in ADAPTERS:
        (folder,) = trained.results.glob(f"products/{adapter}/protocol/seed-1")
        shutil.copytree(folder / "adapter", tmp_path / adapter / "adapter")
        (tmp_path / adapter / "tiny-bert").symlink_to(tmp_path / "tiny-bert")
        row = load_predictions(folder).iloc[3]
        codes = re.findall(r"(?s)```python\n(.*?)```", (folder / "adapter" / "README.md").read_text("utf-8"))
        assert len(codes) == 2
        for code in codes:
            assert '"A fine film."' in code
            script += f"os.chdir({str(tmp_path / adapter)!r})\n"
            code = code.replace('"A fine film."', repr(row["text"]))
            script += f"exec({code!r}, {{}})\n"
            expected.append(row["probability"])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT.root), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    found = [float(number) for number in re.findall(r"0\.\d+", done.stdout)]
    assert [negative + positive for negative, positive in zip(found[::2], found[1::2], strict=True)] == pytest.approx(
        [1] * 8, abs=1e-6
    )
    assert found[1::2] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_every_adapter_s_card_is_sealed_with_its_run(trained: Paths) -> None:
    """The card is one of the files that the record names, and `status` finds everything up to date."""
    for record in records_of(trained).values():
        assert "adapter/README.md" in record.files
        assert record.seal == record.compute_seal()
    done = run_adapterbook(trained, "status", SOURCE="products")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_training_again_gives_the_same_weights_and_the_same_card(trained: Paths) -> None:
    """`verify` trains runs again and finds every bit of them the same; the files agree with their hashes."""
    done = run_adapterbook(trained, "verify", SOURCE="products")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(\d) of \d runs trained again: \1 identical bit for bit", done.stdout)


def test_what_is_shared_is_the_project_s_own(tmp_path: Path) -> None:
    """Styles and the notebook are copied, not kept twice, and what is copied is not committed."""
    paths = stage(tmp_path / "example")
    assert paths.notebook.read_bytes() == PROJECT.notebook.read_bytes()
    assets, copies = (folder / "report" / "assets" for folder in (PROJECT.root, paths.root))
    names = {path.relative_to(assets) for path in assets.rglob("*") if path.is_file()}
    assert names == {path.relative_to(copies) for path in copies.rglob("*") if path.is_file()}
    tracked = subprocess.run(
        ["git", "ls-files", "examples"], cwd=PROJECT.root, capture_output=True, text=True, check=True
    )
    for part in ("_quarto.yml", "report/", "experiment.ipynb", "_site/", "results/"):
        assert part not in tracked.stdout


@pytest.mark.slow
def test_a_wrong_module_name_is_answered_with_bert_s(trained: Paths, tmp_path: Path) -> None:
    """The project's own adapters do not fit a BERT, and the message lists what it has."""
    root = Path(
        shutil.copytree(trained.root, tmp_path / "copy", ignore=shutil.ignore_patterns("_site", "report", ".cache"))
    )
    shutil.copy(PROJECT.experiments / "adapters" / "lora_1.yaml", root / "experiments" / "adapters")
    done = run_adapterbook(Paths(root), "train", SOURCE="products")
    assert done.returncode == 2
    assert "lora_1.yaml is not a valid adapter" in done.stderr
    assert "query" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_first_make_all_of_a_new_study_runs(tmp_path: Path, embedded_model: Path) -> None:
    """What `make new-study FROM=examples/bert-products` writes trains as it is, and its pages have its words."""
    make_bert(tmp_path / "tiny-bert", embedded_model)
    (tmp_path / "mails").mkdir()
    rows = {"body": [f"mail {i} {'buy now' if i % 3 else 'see you'}" for i in range(900)],
            "kind": ["spam" if i % 3 else "ham" for i in range(900)]}  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "mails" / "train.parquet", index=False)
    answers = Answers("spam", str(tmp_path / "tiny-bert"), str(tmp_path / "mails"), "body", "kind",
                      "ham=正常|wanted, spam=垃圾|unwanted", "垃圾信|Spam mails", model=str(EXAMPLE))  # fmt: skip
    paths = Paths(create_study(answers, tmp_path / "project"))
    done = run_adapterbook(paths, "all", SOURCE="spam")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(paths.results.glob("spam/*/*/*/record.json"))) == len(ADAPTERS) * 2
    page = (paths.root / "_site" / "report" / "en" / "sentences.html").read_text("utf-8")
    assert "Spam mails" in page and "unwanted" in page
