"""Describe how far back in time the gradient reaches.

    norms[k] = mean over t of || d loss_t / d x_{t-k} ||

With a recurrent matrix W and a saturating nonlinearity, the norm changes by about the same factor
with every step back: if the factor is below one, the gradient vanishes, if above one, it explodes.

Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks",
arXiv:1211.5063. They bound the factor; here the norms are measured.
"""

import math
from collections.abc import Sequence

# Below this share of the largest norm, the gradients of nearer inputs dominate.
VANISHED = 0.01
# Growth from the first to the last lag from which gradients count as exploding.
EXPLODED = 10.0


def describe_reach(norms: Sequence[float]) -> str:
    """Describe the norms of the gradient by time lag in one sentence.

    `norms[k]` is the norm at a lag of `k` steps; any length is allowed, including 0 and 1.

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
        return "No gradient reaches the inputs: the loss does not depend on them."
    if len(norms) == 1:
        return (
            "Only a lag of 0 steps was measured, which does not show how far the gradient reaches."
        )

    measured = len(norms) - 1
    growth = norms[-1] / next(norm for norm in norms if norm > 0)
    if growth >= EXPLODED:
        return (
            f"The gradient grows by a factor of {growth:,.0f} over {_steps(measured)}: "
            "it explodes, and training needs gradient clipping."
        )
    # The last lag above the threshold, not the first below: a single lag can be small by chance.
    reached = max(lag for lag, norm in enumerate(norms) if norm >= VANISHED * largest)
    if reached == measured:
        return (
            f"The gradient reaches at least {_steps(measured)} back, the longest lag measured, "
            f"where its norm is {100 * norms[-1] / largest:.0f} % of the largest value."
        )
    return (
        f"The gradient falls below {100 * VANISHED:.0f} % of its largest value after "
        f"{_steps(reached + 1)}: it vanishes, and the model can hardly learn from earlier inputs."
    )


def _steps(count: int) -> str:
    return f"{count:,} step" if count == 1 else f"{count:,} steps"
