"""Read ``predictions.parquet``: what a run, or the linear probe, answered for each test row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from adapterbook.common.errors import RecordError
from adapterbook.common.strict import ColumnType, is_float, is_integer, is_text, load_table
from adapterbook.config.source import MAX_LABELS, MIN_LABELS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

ROW_COLUMNS: dict[str, ColumnType] = {
    "row_id": is_integer, "text": is_text, "label": is_integer, "prediction": is_integer,
}  # fmt: skip


def load_predictions(folder: Path) -> pd.DataFrame:
    """Read the test predictions of a run's folder.

    Returns
    -------
    DataFrame, n_test rows
        ``row_id`` (int, position in the data set's split), ``text`` (str, as the model read it), ``label`` and
        ``prediction`` (int from 0), and the columns of probabilities that `class_probabilities` reads.

    Raises
    ------
    RecordError
        If the file is missing, truncated, or has other columns or values out of range.
    """
    path = folder / "predictions.parquet"
    name = "/".join(path.parts[-5:])
    try:
        table = load_table(path, lambda n_columns: prediction_columns(n_columns - len(ROW_COLUMNS)))
    except FileNotFoundError:
        raise RecordError(f"{name} is missing: run `make train`.") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{name} is not valid ({error}): run `make train`.") from error
    probabilities = class_probabilities(table)
    whole = table[["label", "prediction"]].isin(range(probabilities.shape[1])).to_numpy().all()
    shares = (probabilities >= 0) & (probabilities <= 1)
    if not whole or not shares.all() or (abs(probabilities.sum(axis=1) - 1) > 1e-6).any():
        raise RecordError(f"{name}: a label is not 0 to {probabilities.shape[1] - 1}, or probabilities are not in "
                          "[0, 1] or do not sum to 1: run `make train`.")  # fmt: skip
    return table


def prediction_columns(n_labels: int) -> dict[str, ColumnType]:
    """Return the columns of ``predictions.parquet``.

    Of two labels one probability is stored, that of label 1; of more there is one for each label.

    Examples
    --------
    >>> list(prediction_columns(2))[4:], list(prediction_columns(3))[4:]
    (['probability'], ['probability_0', 'probability_1', 'probability_2'])
    """
    if n_labels <= MIN_LABELS:
        return ROW_COLUMNS | {"probability": is_float}
    return ROW_COLUMNS | {f"probability_{label}": is_float for label in range(min(n_labels, MAX_LABELS))}


def class_probabilities(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return the probability of each label, of shape (n_rows, n_labels), from a table of predictions."""
    import numpy as np

    if "probability" in table:
        probability = table["probability"].to_numpy(float)
        return np.stack([1 - probability, probability], axis=-1)
    return table.iloc[:, len(ROW_COLUMNS) :].to_numpy(float)
