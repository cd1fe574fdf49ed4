"""What is said about a study follows from its plan and records."""

import ablate as ab
from ablate.report import sentences
from ablate.report.tables import table
from tests.report.studies import make_effects, make_plan, make_records


def test_the_summary_tells_main_effects_and_counts_the_rest():
    records = make_records()
    lines = sentences.summary(ab.attribute(records), records)
    assert [verdict for verdict, _ in lines] == ["better", "better", "equivalent", "worse", "", "", ""]
    assert lines[0][1].startswith("data: clean_labels vs raw: +0.0")
    assert lines[-1][1] == "Interactions: 5 undecided."


def test_the_summary_of_one_at_a_time_tells_simple_effects():
    records = make_records(make_plan(design="one_at_a_time"))
    lines = sentences.summary(ab.attribute(records), records)
    assert len(lines) == 4
    assert all(verdict for verdict, _ in lines)


def test_a_refused_effect_is_told_as_not_tested():
    records = make_records()
    effects = make_effects({"refusal": "R01", "verdict": "refused", "note": "one run per cell"})
    (line,) = sentences.summary(effects, records)
    assert line == ("refused", "data: clean vs raw: +0.0312, not tested (R01: one run per cell).")


def test_seeds_that_are_added_until_decided_are_the_most_there_may_be():
    made = make_plan({"data": ["raw", "clean"]}, seeds=3, max_seeds=9, analysis={"stopping": "sequential"})
    records = make_records(made).of_trials([t for t in made.trials if t.seed < 3])
    effects = ab.attribute(records)
    assert "each run with at most 9 seeds (0 to 8): at most 18 trials." in sentences.methods(effects, records)
    assert any(line.startswith("At most 9 seeds per cell (0 to 8);") for line in table(effects, records).notes)


def test_the_methods_paragraph_says_what_was_run():
    records = make_records(make_plan(exclude=[{"data": "augmented", "size": "small"}]), failed=1)
    said = sentences.methods(ab.attribute(records), records)
    for words in [
        "data (raw, clean_labels, augmented; baseline raw)",
        "full factorial design of 10 cells, each run with 3 seeds (0 to 2): 30 trials",
        "2 cells had been excluded",
        records.plan.hash[:12],
        "accuracy (higher is better) on 4 domain groups (clean, noise, blur and rotation)",
        "9 of 10 cells complete, 29 of 30 trials complete, 1 failed",
    ]:
        assert words in said


def test_one_sided_questions_say_so():
    effects = make_effects({})
    for family, said in [
        ("noninferiority", "Non-inferiority: p is one-sided"),
        ("retention", "Retained: p is one-sided"),
    ]:
        notes = sentences.footnotes(effects, None, effects.frame.head(1).assign(family=family))
        assert any(note.startswith(said) and "judged at 0.025" in note for note in notes)
        assert not any("one-sided" in note for note in sentences.footnotes(effects, None, effects.frame.head(0)))
