"""Predictions: the effect in one new domain of the same kind (estimand 8)."""

from typing import Any

import numpy as np

from ablate.stats.crossed import Components
from ablate.stats.pivots import Student


def predict(components: Components) -> Student:
    """The effect in one domain that was not measured, as seen with ever more runs there.

    Its interval is estimate ± t·sqrt(s² + the variance towards new domains), s² being the variance over domains of the
    contrast as seen. That includes run noise, so that intervals of 95 % cover .958 to 1.00 in simulations with 3 to 10
    runs and 6 or 20 domains: nearest where domains differ, too wide where they do not. Domain effects are taken as
    normal; fewer than five domains (R12) say too little about them.

    Args:
        components: of the contrast, with two domains or more.

    Returns:
        The prediction; its interval is the prediction interval, and its p-values are about the new domain's effect.
    """
    variance, df = prediction_variance(components)
    return Student(float(components.estimate), float(variance) ** 0.5, float(df))


def chance_above(prediction: Student, value: float = 0.0) -> float:
    """Probability, in the same sense as the prediction interval, that the effect in a new domain exceeds `value`."""
    return 1 - prediction.p_value(value, "greater")


def prediction_variance(components: Components) -> tuple[Any, Any]:
    """Variance of a new domain's effect about the estimate, and Satterthwaite's degrees of freedom.

    Where a component is estimated at or below zero, the rule of the largest variance holds as in `Components`.
    """
    c, bounded = components, components.bounded
    by_domain = c.domains * c.domain + np.where(bounded & (c.domain < c.run), 0.0, c.domain)
    by_run = np.where(bounded & (c.domain >= c.run), 0.0, c.run)
    joint = np.where(bounded, 0.0, c.joint)
    total = by_domain + by_run - joint
    with np.errstate(invalid="ignore", divide="ignore"):
        df = total**2 / (by_domain**2 / c.df_domain + by_run**2 / c.df_run + joint**2 / c.df_joint)
    return total[()], df[()]
