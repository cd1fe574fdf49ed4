"""Tables of effects say what the effects hold, with the trials behind every cell."""

import math

import numpy as np
import pytest

import ablate as ab
from ablate.amendments import Amendment, Scope, find_scopes
from ablate.errors import RecordsError
from ablate.report.papers import Papers
from ablate.report.tables import FAMILIES, Entry, Table, domains_table, table
from tests.report.studies import make_effects, make_plan, make_records, number, read_markdown


@pytest.fixture(scope="module")
def records():
    return make_records()


@pytest.fixture(scope="module")
def effects(records):
    return ab.attribute(records)


def test_every_number_of_the_markdown_is_that_of_its_effect(records, effects):
    shown = read_markdown(repr(table(effects, records)))
    frame = effects.frame[effects.frame["domain"] == "all"]
    frame = frame.sort_values("family", key=lambda names: names.map(FAMILIES.index), kind="stable")
    ours, theirs = (frame[frame["target"] == t].reset_index(drop=True) for t in ("these_domains", "new_domains"))
    assert len(shown) == len(ours) == len(theirs) == 4 + 11 + 5 + 1
    for row, one, two in zip(shown, ours.to_dict("records"), theirs.to_dict("records"), strict=True):
        assert (row["Factor"], row["Level"], row["Against"]) == (one["factor"], one["level"], one["versus"])
        joint = one["family"] == "omnibus"  # an F to two decimals, without an interval
        assert number(row["Δ accuracy"]) == pytest.approx(one["estimate"], abs=5.1e-3 if joint else 5.1e-5)
        assert row["Verdict"] == one["verdict"]
        assert row["n"] == f"{one['n_runs']} ({one['n_seeds']}) × {one['n_domains']}"
        pairs = [(row["95 % interval"], row["p"], one), (row["new domains: 95 % interval"], row["p 2"], two)]
        for interval, p, effect in pairs:
            assert (interval == "–") == joint
            low, high = (np.nan, np.nan) if joint else (number(end) for end in interval.strip("[]").split(", "))
            assert (low, high) == pytest.approx((effect["low"], effect["high"]), abs=5.1e-5, nan_ok=True)
            assert (
                effect["p_adjusted"] < 0.001
                if p == "<.001"
                else number(p) == pytest.approx(effect["p_adjusted"], abs=6e-4)
            )


def test_a_mean_of_the_table_is_a_mean_of_the_records(records, effects):
    wide = records.complete[records.complete["metric"] == "accuracy"]
    runs = wide.groupby(["trial", "data", "objective", "size", "domain_group"])["value"].mean()
    cells = runs.groupby(["data", "objective", "size"]).mean()
    by_hand = cells["augmented"].mean() - cells["raw"].mean()
    row = next(r for r in read_markdown(repr(table(effects, records))) if r["Level"] == "augmented")
    assert number(row["Δ accuracy"]) == pytest.approx(by_hand, abs=5.1e-5)


def test_every_number_has_its_trials(records, effects):
    main = next(row for row in table(effects, records).rows if len(row) > 1 and row[1].text == "augmented")
    frame = records.complete.drop_duplicates("trial")
    wanted = set(frame[frame["data"].isin(["augmented", "raw"])]["trial"])
    assert [set(entry.trials) for entry in main[3:10]] == [wanted] * 7


def test_the_plans_target_leads_and_the_other_stands_beside_it():
    records = make_records(make_plan(analysis={"target": "new_domains"}))
    effects = ab.attribute(records)
    shown = table(effects, records)
    assert shown.header[8] == "these domains:\n95 % interval"
    first = effects.select(family="main", target="new_domains").frame.iloc[0]
    low = number(read_markdown(repr(shown))[0]["95 % interval"].strip("[]").split(", ")[0])
    assert low == pytest.approx(first["low"], abs=5.1e-5)


def test_effects_say_their_own_alpha_and_target():
    both = [{"target": "these_domains"}, {"target": "new_domains", "estimate": 0.5}]
    shown = table(make_effects(*both, alpha=0.1, target="new_domains"))
    assert shown.header[4] == "90 % interval"
    assert shown.header[8] == "these domains:\n90 % interval"
    assert read_markdown(repr(shown))[0]["Δ accuracy"] == "+0.5000"


def test_a_refusal_takes_the_place_of_p():
    nothing = dict.fromkeys(["p", "p_adjusted", "low", "high"], math.nan)
    refused = make_effects(
        {**nothing, "refusal": "R01", "verdict": "refused", "note": "one run per cell"}, notes=("R01: run more.",)
    )
    row = read_markdown(repr(table(refused)))[0]
    assert (row["p"], row["95 % interval"], row["Verdict"]) == ("R01", "–", "refused")
    assert "R01: run more." in table(refused).notes


@pytest.mark.parametrize(("p", "said"), [(0.0004, "<.001"), (0.0126, ".013"), (1.0, "1.000"), (0.9999, "1.000")])
def test_p_is_said_without_leading_zero_and_never_as_zero(p, said):
    assert read_markdown(repr(table(make_effects({"p_adjusted": p}))))[0]["p"] == said


def test_leave_one_out_shows_the_sum_beside_the_total():
    rows = [
        {"factor": "a", "level": "on", "versus": "off", "estimate": 0.03},
        {"factor": "b", "level": "on", "versus": "weak", "estimate": 0.5},
        {"factor": "b", "level": "on", "versus": "off", "estimate": 0.02},
        {"factor": "a × b", "level": "on × on", "versus": "off × off", "estimate": 0.04},
    ]
    shown = read_markdown(repr(table(make_effects(*({**row, "family": "leave_one_out"} for row in rows)))))
    assert [number(row["Δ accuracy"]) for row in shown] == [0.03, 0.5, 0.02, 0.04, 0.05]
    assert (shown[-1]["p"], shown[-1]["95 % interval"]) == ("–", "–")


def test_footnotes_name_domains_seeds_margin_failures_and_correction():
    records = make_records(failed=1)
    notes = "\n".join(table(ab.attribute(records), records).notes)
    for said in [
        "noise: digits/noise-1, digits/noise-2",
        "3 seeds per cell (0 to 2)",
        "±0.01",
        "11 of 12 cells complete, 35 of 36 trials complete, 1 failed: ValueError: loss is nan (1×).",
        "Holm",
        "main 4",
        "higher is better",
        "new shift of the same items (digits)",
        "R06",
    ]:
        assert said in notes
    assert notes.count("of 36 trials complete") == 1


def test_domains_stand_on_the_longer_side(records, effects):
    shown = domains_table(effects, records)
    assert shown.header == ("Domain group", "data:\nclean_labels vs raw", "data:\naugmented vs raw",
                            "objective:\nsmooth vs ce", "size:\nsmall vs large")  # fmt: skip
    assert [row[0].text for row in shown.rows] == ["clean", "", "noise", "", "blur", "", "rotation", ""]
    few = effects.frame[effects.frame["domain"].isin(["clean", "noise"])]
    turned = domains_table(type(effects)(few, ()), records)
    assert turned.header == ("Contrast", "clean", "noise")
    assert turned.rows[0][1] == shown.rows[0][1]


def test_marks_say_the_verdicts():
    verdicts = {"better": "↑", "worse": "↓", "equivalent": "≈", "undecided": "?"}
    rows = [{"family": "domain", "domain": v, "verdict": v} for v in verdicts]
    refused = {"family": "domain", "domain": "x", "verdict": "refused", "refusal": "R12"}
    shown = domains_table(make_effects(*rows, refused))
    assert [row[1].text.split()[-1] for row in shown.rows[::2]] == [*verdicts.values(), "R12"]


def test_strata_are_told_apart():
    records = make_records(make_plan(across=["size"]))
    effects = ab.attribute(records)
    headings = [row[0].text for row in table(effects, records).rows if len(row) == 1]
    assert len(headings) == len(set(headings)) > 2
    assert all("size=" in h for h in headings)
    assert sum(len(row) == 1 for row in domains_table(effects, records).rows) == 2


def test_a_study_without_domains_has_no_table_of_them():
    plan = make_plan(domains=(), seeds=4)
    row = {"domain_group": "all", "domain": "all", "shift": "none", "metric": "accuracy"}
    values = {t.id: 0.8 + 0.01 * i % 0.07 for i, t in enumerate(plan.trials)}
    outcomes = {i: {"status": "complete", "rows": [{**row, "value": value}]} for i, value in values.items()}
    records = ab.Records.of(plan, outcomes)
    effects = ab.attribute(records)
    assert domains_table(effects, records).rows == ()
    assert "R12" in repr(table(effects, records))


def test_a_table_with_uneven_rows_is_refused():
    with pytest.raises(RecordsError, match="rows of"):
        Table("t", ("a", "b", "c"), ((Entry("1"), Entry("2")),))


def test_written_files_are_the_renderings(tmp_path, records, effects):
    from ablate.report import rendering

    shown = table(effects, records)
    paths = shown.write(tmp_path / "tables", "effects")
    assert [p.name for p in paths] == ["effects.md", "effects.tex", "effects.csv", "effects.html"]
    assert paths[0].read_text(encoding="utf-8") == repr(shown)
    assert paths[2].read_text(encoding="utf-8") == rendering.csv(shown)
    assert shown._repr_html_() in paths[3].read_text(encoding="utf-8")


def test_domain_effects_that_an_amendment_touches_are_named(records, effects):
    former = make_plan(margin=0.002)
    change = Amendment(1, "2026-01-01T00:00:00+00:00", "why", former.hash, records.plan.hash, (), 36, former)
    papers = Papers(amendments=(change,), scopes=find_scopes(records.plan, (change,)))
    (note,) = [note for note in domains_table(effects, records, papers).notes if note.startswith("Exploratory")]
    frame = effects.frame[(effects.frame["family"] == "domain") & (effects.frame["target"] == effects.target)]
    for row in frame.to_dict("records"):
        named = f"{row['factor']}: {row['level']} vs {row['versus']} in {row['domain']}" in note
        assert named == (row["verdict"] not in ("better", "worse"))
    everything = Papers(scopes=(Scope(1, everything=True),))
    assert (
        "Exploratory, since an amendment came after results: all." in domains_table(effects, records, everything).notes
    )
    headings = [row[0].text for row in table(effects, records, everything).rows if len(row) == 1]
    assert all(heading.startswith("Exploratory, amendment 1: ") for heading in headings)
