"""Draw the report's figures, one SVG for each figure and language. Imports analysis, config and common.

``draw_figures(report, folder, phrases)`` returns them by id:

=========================  ===================================================================================
``answer``                 every adapter's test accuracy at its best learning rate, sorted, with its interval
``headline``               every adapter as submitted: validation loss and accuracy by epoch
``headline-best``          the same, each adapter at its own best learning rate
``travel``                 test accuracy over how far training had moved the weights, a panel a method
``learning-rate``          training loss above validation loss by epoch, a column a learning rate, all adapters
``batch-size``             one adapter's validation loss by batch size, over steps and over travel
``eval-strategy``          what evaluating by steps, by epoch and never sees of one curve
``epochs``                 best epoch and onset of overfitting, marked on the curves
``test-accuracy``          test accuracy with 95 % intervals, by adapter and learning rate
``costs``                  accuracy against parameters, time and adapter size, with the Pareto front (``costs-2``, …:
                           the same for further devices)
``block``                  which modules of a Transformer block each adapter touches
``learned``                relative size of each module's update by layer, a panel a kind of module
``curves-<adapter>``       train and validation loss by epoch, one panel a variant
``accuracy-<adapter>``     validation accuracy by epoch, one line a variant
``confusion-<adapter>``    confusion matrices on the test rows, one panel a variant
``published-<adapter>``    the published curve beside this study's
=========================  ===================================================================================

``<adapter>`` is the id in lower case with every other character than ``a-z0-9`` as ``-`` (``lora_1`` → ``lora-1``).
A figure may have a second drawing for narrow screens, in ``phone/``. One that cannot be drawn is there too, with
``reason`` and no file. ``draw_cards`` draws the picture that a link to the site is shown with.
"""

from __future__ import annotations

from adapterbook.figures.card import draw_cards, remove_cards
from adapterbook.figures.catalogue import draw_figures
from adapterbook.figures.figure import Figure
from adapterbook.figures.render import open_figures_cache

__all__ = ["Figure", "draw_cards", "draw_figures", "open_figures_cache", "remove_cards"]
