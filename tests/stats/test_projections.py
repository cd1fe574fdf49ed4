import re
from dataclasses import replace

import numpy as np
import pytest

from ablate.stats.contrasts import Contrast
from ablate.stats.crossed import Components
from ablate.stats.projections import half_width, suggest
from ablate.stats.results import Result

# 5 seeds × 6 domains; run .04, domain .09 and error .01 of the estimate's variance
FOUND = Components(0.3, 0.04, 0.09, 0.01, 8.0, 5.0, 40.0, 5, 6)


def ask(estimate=0.3, target="these_domains", margin=None, verdict="undecided", family="main", level=0.95, **parts):
    contrast = Contrast(family, "data", "clean", "raw", {})
    found = replace(FOUND, estimate=estimate, **parts)
    return Result(
        contrast, "", "all", target, estimate, found, None, None, margin, "E1", verdict=verdict, level_ci=level
    )


def number(text):
    return int(re.search(r"\d+", text).group())


@pytest.mark.parametrize("level", [0.95, 0.99])
@pytest.mark.parametrize("estimate", [0.05, 0.2, -0.3])
def test_so_many_seeds_decide_and_one_fewer_does_not(estimate, level):
    result = ask(estimate, level=level)
    more = number(suggest(result, "maximize"))
    assert more > 1
    decided = [half_width(FOUND.scaled(5 + n, 6), "these_domains", level) < abs(estimate) for n in (more - 1, more)]
    assert decided == [False, True]


def test_equivalence_can_be_what_decides():
    text = suggest(ask(0.05, margin=0.4), "maximize")
    more = number(text)
    reach = [half_width(FOUND.scaled(5 + n, 6), "these_domains", 0.95) + 0.05 < 0.4 for n in (more - 1, more)]
    assert reach == [False, True]
    assert more < number(suggest(ask(0.05), "maximize"))


def test_new_domains_have_a_floor_that_no_seeds_lower():
    result = ask(0.5, "new_domains")  # tau/sqrt(D) = sqrt(.08) = .283, t(5) = 2.57: .73 remain
    text = suggest(result, "maximize")
    assert text.startswith("needs domains: about")
    more = number(text)
    decided = [half_width(FOUND.scaled(5, 6 + n), "new_domains", 0.95) < 0.5 for n in (more - 1, more)]
    assert decided == [False, True]
    assert suggest(ask(0.8, "new_domains"), "maximize").endswith("would decide")


def test_domains_alone_may_not_do():
    text = suggest(ask(0.3, "new_domains"), "maximize")  # the runs alone leave 2.3 × sqrt(.03)
    more, seeds = map(int, re.findall(r"\d+", text))
    assert text == f"needs domains: about {more} further one{'s' * (more > 1)} with {seeds} seeds"
    assert half_width(FOUND.scaled(seeds, 6 + more), "new_domains", 0.95) < 0.3
    assert half_width(FOUND.scaled(5, np.inf), "new_domains", 0.95) > 0.3


def test_what_cannot_be_decided_says_so():
    assert suggest(ask(0.0), "maximize") == "at this estimate no number of seeds would decide"
    assert "more than" in suggest(ask(0.001), "maximize")
    beyond = ask(-0.3, margin=0.2, verdict="not shown", family="noninferiority")
    assert suggest(beyond, "maximize") == "at this estimate no number of seeds would decide"
    assert number(suggest(beyond, "minimize")) > 0


def test_the_decided_needs_nothing():
    assert suggest(ask(verdict="better"), "maximize") == ""


def test_no_spread_over_domains_needs_no_domains():
    assert "seeds" in suggest(ask(0.3, "new_domains", domain=0.005), "maximize")
