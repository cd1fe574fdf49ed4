"""Every error says what, where, what is allowed and what to do, and survives the way between processes."""

import pickle

import pytest

from ablate.errors import AblateError, PlanError, StudyError, require_keys, require_one_of


def test_the_message_holds_every_part_in_reading_order():
    error = PlanError(
        "unknown level", where="study.yaml: data", allowed=["raw", "clean"], remedy="mend it", word="claen"
    )
    assert str(error).splitlines() == [
        "unknown level",
        "  where:   study.yaml: data",
        "  allowed: raw, clean",
        "  did you mean 'clean'?",
        "  remedy:  mend it",
    ]


def test_parts_that_are_not_given_leave_no_line():
    assert str(AblateError("it is full")) == "it is full"


def test_a_word_far_from_everything_gets_no_suggestion():
    assert "did you mean" not in str(PlanError("unknown", allowed=["raw", "clean"], word="zzz"))


def test_nothing_allowed_is_said_so():
    assert "(nothing)" in str(PlanError("unknown", allowed=[]))


@pytest.mark.parametrize("kind", [AblateError, PlanError, StudyError])
def test_an_error_survives_pickling(kind):
    error = kind("what", where="here", allowed=["a"], remedy="do", word="b")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (str(back), back.what, back.where, back.allowed, back.remedy) == (
        str(error),
        "what",
        "here",
        ("a",),
        "do",
    )


def test_require_one_of_lets_allowed_words_pass_and_names_the_place_of_others():
    require_one_of("a", "abc", "key")
    with pytest.raises(PlanError, match=r"(?s)unknown colour 'gren'.*where:   key.*did you mean 'green'"):
        require_one_of("gren", ["green", "red"], "key", "colour")


def test_require_keys_names_the_key_that_nobody_reads():
    require_keys({"alpha": 1}, ["alpha"], "analysis")
    with pytest.raises(PlanError, match=r"(?s)unknown key 'aplha'.*did you mean 'alpha'"):
        require_keys({"aplha": 1}, ["alpha"], "analysis")
    with pytest.raises(PlanError, match="not a mapping"):
        require_keys(["alpha"], ["alpha"], "analysis")
