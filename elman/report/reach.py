"""How far back in time the gradient reaches, in words.

    norms[k] = mean over t of || d loss_t / d x_{t-k} ||

With a recurrent matrix W and a saturating nonlinearity the norm changes by about the same factor
with every step back: below one it vanishes, above one it explodes.

Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks",
arXiv 1211.5063. They bound the factor; here the norms are measured and described.
"""

import math
from collections.abc import Sequence

# Below this share of the largest norm the gradient is drowned by that of nearer inputs.
VANISHED = 0.01
# Growth from the first to the last lag that gradient clipping starts to notice.
EXPLODED = 10.0


def describe_reach(norms: Sequence[float]) -> str:
    """One sentence that says what the gradient norms by time lag show.

    `norms[k]` belongs to a lag of `k` steps; any length is allowed, 0 and 1 included.

    >>> describe_reach([1.0, 0.1, 0.005])[:63]
    'The gradient falls below 1 % of its largest value after 2 steps'
    """
    if not norms:
        return "The reach of the gradient was not measured."
    broken = next((lag for lag, norm in enumerate(norms) if not math.isfinite(norm)), None)
    if broken is not None:
        return (
            f"The gradient is not a finite number at a lag of {_steps(broken)}: it explodes, "
            "and training needs gradient clipping or a lower learning rate."
        )
    largest = max(norms)
    if largest == 0:
        return "No gradient at all reaches the inputs: the loss does not depend on them."
    if len(norms) == 1:
        return (
            "Only a lag of 0 steps was measured: that does not show how far the gradient reaches."
        )

    measured = len(norms) - 1
    growth = norms[-1] / next(norm for norm in norms if norm > 0)
    if growth >= EXPLODED:
        return (
            f"The gradient grows by a factor of {growth:,.0f} over the {_steps(measured)} "
            "measured: it explodes, and training needs gradient clipping."
        )
    # The last lag above the threshold, not the first below: single lags may be small by chance.
    reached = max(lag for lag, norm in enumerate(norms) if norm >= VANISHED * largest)
    if reached == measured:
        return (
            f"The gradient reaches at least the {_steps(measured)} measured, where "
            f"{100 * norms[-1] / largest:.0f} % of its largest value is left."
        )
    return (
        f"The gradient falls below {100 * VANISHED:.0f} % of its largest value after "
        f"{_steps(reached + 1)}: it vanishes, and the model can hardly learn from what lies "
        "further back."
    )


def _steps(count: int) -> str:
    return f"{count:,} step" if count == 1 else f"{count:,} steps"
