"""Define what the report says about an adapter's modules: the change of each, and its parameters by formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Directions:
    """Say how many directions an update uses, as means over seeds, or over seeds and modules.

    Attributes
    ----------
    stable_rank : float
        Squared Frobenius norm over the square of the largest singular value: k for k equal singular values.
    n_for_90, n_for_99 : float or None
        Singular values, from the largest on, that hold 90 % and 99 % of the squared norm; None where that takes more
        than a record keeps.
    relative_values : tuple of float
        The singular values relative to the first, falling; the 64 largest at most.
    """

    stable_rank: float
    n_for_90: float | None
    n_for_99: float | None
    relative_values: tuple[float, ...]


@dataclass(frozen=True)
class LearnedModule:
    """Describe one linear layer of the base model after training, as means over the seeds whose records say it.

    Attributes
    ----------
    module : str
        Its whole name in the base model.
    kind : str
        The same for every Transformer layer: the ending by which ``target_modules`` names it (``q_lin``,
        ``ffn.lin1``), else as many last parts of its name as tell it from the other kinds.
    layer : int or None
        Number of its Transformer layer, from 0, as in its name; None where the name holds none.
    d_in, d_out : int
        Inputs and outputs; the weight has shape (d_out, d_in).
    relative_update : float
        Frobenius norm of what training added to the effective weight, over that of the weight; at least 0.
    scale_deviation : float or None
        IA³ only: mean distance of the learned vector's entries from 1.
    directions : Directions or None
        None where the records hold no singular values, or the update is zero.
    """

    module: str
    kind: str
    layer: int | None
    d_in: int
    d_out: int
    relative_update: float
    scale_deviation: float | None
    directions: Directions | None


@dataclass(frozen=True)
class LearnedMean:
    """Describe several modules together: those of one kind, or of one layer (``name`` is then its number).

    ``relative_update`` and ``scale_deviation`` are means over the modules; ``low`` and ``high`` are the lowest and
    highest relative update among them.
    """

    name: str
    n_modules: int
    relative_update: float
    low: float
    high: float
    scale_deviation: float | None


@dataclass(frozen=True)
class EqualPair:
    """Name two kinds of modules whose IA³ vectors ended equally far from 1 in every layer.

    Attributes
    ----------
    largest_difference : float
        Between the mean distances of the two vectors of a layer.
    n_redundant : int
        Entries of the second kind's vectors, over all layers.
    """

    first: str
    second: str
    n_layers: int
    largest_difference: float
    n_redundant: int

    @property
    def of_attention(self) -> bool:
        """Tell whether the two are the queries and the keys, whose product is all that attention uses."""
        return {self.first, self.second} in ({"q_lin", "k_lin"}, {"query", "key"}, {"q_proj", "k_proj"})


@dataclass(frozen=True)
class LearnedRatio:
    """Compare the mean relative update of an adapter with the reference's at the same learning rate.

    Attributes
    ----------
    epoch, reference_epoch : float
        At which the two kept checkpoints were made, by the first seed.
    """

    adapter: str
    reference: str
    variant: str
    ratio: float
    epoch: float
    reference_epoch: float


@dataclass(frozen=True)
class Growth:
    """Say how the mean relative update of one adapter grows with the travel of its weights.

    Attributes
    ----------
    n_runs : int
        At least three, with different travels.
    travel_ratio, update_ratio : float
        The run with the longest travel over the one with the shortest.
    exponent : float
        Slope of the logarithms, by least squares: 1 is growth in proportion, 2 growth with the square.
    """

    adapter: str
    n_runs: int
    travel_ratio: float
    update_ratio: float
    exponent: float


@dataclass(frozen=True)
class Learned:
    """Describe the change of each module by one adapter in one variant, at the checkpoints that were kept.

    Attributes
    ----------
    n_seeds : int
        Seeds whose records say it.
    modules : tuple of LearnedModule
        In the model's order, at least one.
    kinds, layers : tuple of LearnedMean
        By kind in the model's order, and by layer from the first; ``layers`` may be empty.
    largest, smallest : LearnedModule
        By relative update.
    mean_relative_update, mean_scale_deviation : float, float or None
        Over all modules, each counting the same.
    equal_pair : EqualPair or None
        The first two kinds whose vectors ended alike, as those of queries and keys do.
    directions : Directions or None
        Over all modules; None where a module has none.
    """

    adapter: str
    variant: str
    n_seeds: int
    modules: tuple[LearnedModule, ...]
    kinds: tuple[LearnedMean, ...]
    layers: tuple[LearnedMean, ...]
    largest: LearnedModule
    smallest: LearnedModule
    mean_relative_update: float
    mean_scale_deviation: float | None
    equal_pair: EqualPair | None
    directions: Directions | None


@dataclass(frozen=True)
class FormulaRow:
    """Count the parameters that an adapter adds to one kind of module.

    Attributes
    ----------
    kind : str
        As in ``LearnedModule``; one of several sizes has a row a size.
    n_layers : int
        Modules of this kind and size.
    r : int or None
        Rank; LoRA only.
    scales : str or None
        IA³ only: whether its vector scales the module's ``input`` (feed-forward modules) or its ``output``.
    magnitude : bool
        DoRA: one more number an output.
    n_params_each, n_params : int
        Of one module: r (d_in + d_out), with DoRA d_out more; IA³ d_out, or d_in where the input is scaled. Of all.
    """

    kind: str
    n_layers: int
    d_in: int
    d_out: int
    r: int | None
    scales: Literal["input", "output"] | None
    magnitude: bool
    n_params_each: int
    n_params: int


@dataclass(frozen=True)
class ParameterFormula:
    """Compare the number of trainable parameters by formula with the number counted.

    Attributes
    ----------
    n_adapter_params, measured_adapter_params : int
        The rows' sum, and the record's count.
    width, n_classes : int or None
        Of DistilBERT's head, a layer width → width and one width → n_classes, both with biases; None for any other.
    n_head_params : int or None
        width² + width + n_classes width + n_classes.
    n_trainable_params : int or None
        Adapter and head by formula.
    agrees : bool
        Whether everything known by formula is what was counted.
    """

    method: Literal["lora", "ia3"]
    rows: tuple[FormulaRow, ...]
    n_adapter_params: int
    measured_adapter_params: int
    width: int | None
    n_classes: int | None
    n_head_params: int | None
    measured_head_params: int
    n_trainable_params: int | None
    agrees: bool
