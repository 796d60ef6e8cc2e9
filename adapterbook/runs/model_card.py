"""Write the model card of an adapter, the README.md that the Hugging Face Hub shows, in both languages.

The card depends on the record alone, and not on its times, memory or dates: training the same run again gives the same
card. It lies in the adapter's folder when the run is sealed. What the record does not know, such as the licence of an
unfamiliar base model, the card calls unknown. The card's code needs only packages from PyPI.
"""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from adapterbook.common.files import write_atomically
from adapterbook.common.formatting import format_number
from adapterbook.common.stats import wilson_interval
from adapterbook.config.source import Wording
from adapterbook.runs.record import Record, SourceInfo
from adapterbook.sources.packages import BASE_MODEL, BERT_MODEL, DATASET, EMBEDDED, PRODUCT_DATASET

CARD: Final = "README.md"
METHODS: Final = {"LORA": "LoRA", "IA3": "IA³", "ADALORA": "AdaLoRA", "LOKR": "LoKr", "LOHA": "LoHa"}


@dataclass(frozen=True)
class _BaseModel:
    """Name a known base model and its licence as the Hub does."""

    hub_name: str
    licence: str


MINILM: Final = _BaseModel("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0")
BASE_MODELS: Final = {
    "distilbert/distilbert-base-cased": _BaseModel("distilbert/distilbert-base-cased", "apache-2.0"),
    "google-bert/bert-base-uncased": _BaseModel("google-bert/bert-base-uncased", "apache-2.0"),
    BASE_MODEL: MINILM,
    BERT_MODEL: MINILM,
}
ENGLISH: Final = frozenset(
    {
        "stanfordnlp/imdb",
        "fancyzhx/amazon_polarity",
        DATASET,
        PRODUCT_DATASET,
    }
)


def write_model_card(record: Record, folder: Path) -> None:
    """Write the card of a run into its adapter's folder."""
    write_atomically(folder / CARD, render_model_card(record))


def render_model_card(record: Record) -> str:
    """Return the card of a completed run.

    Parameters
    ----------
    record : Record
        With ``status`` completed: only such a run has an adapter.
    """
    assert record.test is not None
    name = record.source.base_model
    n_right = round(record.test.accuracy * record.test.n)
    return _template().render(
        record=record,
        labels={lang: [getattr(label, lang) for label in record.wording.labels] for lang in ("zh", "en")},
        task=_describe_task(record.wording),
        metadata=make_card_data(record).to_yaml(),
        full=record.n_trainable_params == record.n_total_params,
        method=METHODS.get(record.adapter.peft_type, record.adapter.peft_type),
        settings=json.dumps(_settings(record), indent=2, ensure_ascii=False),
        interval=wilson_interval(n_right, record.test.n),
        base=_base(record.source),
        package=EMBEDDED[name].requirement if name in EMBEDDED else None,
        converted=name == BASE_MODEL,
        packages=sorted(record.environment.packages.items()),
    )


def _describe_task(wording: Wording) -> dict[str, str]:
    """Return what the classifier was trained for, as the end of a sentence in each language; it may say nothing."""
    if wording.task is None:
        return {"zh": "", "en": ""}
    zh, en = (_plain(text) for text in (wording.task.zh, wording.task.en))
    return {"zh": f"，用來{zh}", "en": f", trained to {en}"}


def make_card_data(record: Record) -> ModelCardData:
    """Return the Hub's metadata of a completed run, which the card begins with.

    Notes
    -----
    Source: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
    """
    assert record.test is not None
    source = record.source
    known = BASE_MODELS.get(source.base_model)
    dataset = source.dataset if source.dataset_revision is not None else None
    measured = {"accuracy": record.test.accuracy, "f1": record.test.f1, "loss": record.test.loss}
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=dataset or source.dataset,
            dataset_name=source.dataset,
            dataset_revision=source.dataset_revision,
            metric_type=name,
            metric_value=value,
        )
        for name, value in measured.items()
    ]
    return ModelCardData(
        base_model=_base(source),
        base_model_relation="adapter",
        datasets=None if dataset is None else [dataset],
        language="en" if source.dataset in ENGLISH else None,
        library_name="peft",
        license="unknown" if known is None else known.licence,
        metrics=["accuracy", "f1"],
        pipeline_tag="text-classification",
        tags=["adapterbook", record.adapter.peft_type.lower()],
        model_name=record.run_id,
        eval_results=results,
    )


def _base(source: SourceInfo) -> str | None:
    """Return the base model's name on the Hub, None if it is a folder."""
    known = BASE_MODELS.get(source.base_model)
    if known is not None:
        return known.hub_name
    return source.base_model if source.base_model_revision is not None else None


def _settings(record: Record) -> dict[str, object]:
    return {"peft_type": record.adapter.peft_type, **record.adapter.settings}


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(  # Markdown, not HTML: texts from elsewhere go through `code`
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["show"] = format_number
    environment.filters["code"] = _code
    environment.filters["literal"] = lambda text: json.dumps(text, ensure_ascii=False)
    return environment.get_template("model_card.md.j2")


def _code(text: str) -> str:
    """Return any text as inline code in one line."""
    line = "".join(char if char.isprintable() else " " for char in text).replace("`", "'").replace("|", "¦").strip()
    return f"`{line}`"


def _plain(text: str) -> str:
    """Return any text in one line, without what Markdown or HTML acts on."""
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    return "".join(f"&#{ord(char)};" if char in string.punctuation else char for char in line)
