"""Folds: folds of cross-validation are not replicates, and the t test that allows for what they share.

Two training sets of k-fold cross-validation share most of their examples, so that differences over folds are positively
correlated, and a plain t test over r × k folds finds differences where there are none.
"""

import numpy as np
from numpy.typing import ArrayLike

from ablate.errors import PlanError, RecordsError
from ablate.stats.pivots import Student


def correlated_t(differences: ArrayLike, test_fraction: float) -> Student:
    """The mean difference over folds, with the resampled t test's corrected standard error.

    The variance s²/n becomes s²(1/n + f/(1 - f)), f being the share of the examples that a fold tests: the guess is
    that two folds correlate by f. More repeats of the same cross-validation buy little certainty, as they should: they
    are about these examples. The correlation is assumed, not estimated; where it can be paid for, train on fresh seeds
    with one fixed split instead. Source: Nadeau and Bengio 2003, Machine Learning 52, 239-281, section 3; for r × k
    folds Bouckaert and Frank 2004, PAKDD, 3-12.

    Args:
        differences: of two algorithms, one value for each fold of each repeat.
        test_fraction: share of the examples in a test fold: .1 for ten folds.

    Raises:
        PlanError: a fraction outside (0, 1).
        RecordsError: fewer than two differences, one that is no number, or all alike.
    """
    if not 0 < test_fraction < 1:
        raise PlanError(f"test_fraction is {test_fraction!r}", where="test_fraction", allowed=["above 0, below 1"])
    values = np.asarray(differences, float).ravel()
    if len(values) < 2 or not np.isfinite(values).all() or np.ptp(values) == 0:
        raise RecordsError(
            "these differences have no variance to test against",
            where="differences",
            allowed=["two or more finite numbers that are not all alike"],
            remedy="give one difference for each fold; look for folds that failed or were scored twice",
        )
    variance = values.var(ddof=1) * (1 / len(values) + test_fraction / (1 - test_fraction))
    return Student(float(values.mean()), float(np.sqrt(variance)), float(len(values) - 1))
