import pytest
from made_reports import distance, interval, label_set, paired, text_set
from msgspec.structs import replace

from ragicl.evaluate.report.recommendation import best_of, is_real, recommend


def only(report, *names):
    return replace(report, methods=tuple(m for m in report.methods if m.name in names))


def changed(report, name, **changes):
    methods = [replace(m, **changes) if m.name == name else m for m in report.methods]
    return replace(report, methods=tuple(methods))


def sentence(report, beginning):
    found = [said for said in recommend(report) if said.startswith(beginning)]
    assert len(found) == 1, recommend(report)
    return found[0]


def silent(report, beginning):
    return not any(said.startswith(beginning) for said in recommend(report))


def test_the_best_and_how_much_it_is_better():
    assert sentence(label_set(), "Most accurate") == (
        "Most accurate: lora, accuracy 0.912 (0.882 to 0.942), against 0.782 (0.752 to 0.812) of "
        "ragicl: a difference of +0.130 (+0.100 to +0.160; p < 0.001)."
    )


def test_a_difference_that_may_be_chance_is_not_called_one():
    said = sentence(text_set(), "Most accurate: lora, ROUGE-L 0.452")
    assert "+0.016 (−0.014 to +0.046; p = 0.310), which these rows cannot tell from chance." in said


def test_references_that_time_ended_are_named():
    cut = "Cut short by the time limit, in training or in the search for settings: "
    assert silent(label_set(), cut)
    report = changed(label_set(), "lora", settings={"complete": False})
    assert "lora; with more of it they may be better" in sentence(report, cut)
    report = changed(report, "full", settings={"complete": False})
    names = [m.name for m in report.methods if m.name in ("lora", "full")]
    assert f"{names[0]} and {names[1]}; with" in sentence(report, cut)


def test_the_engine_first_and_who_is_next():
    said = sentence(only(label_set(), "ragicl", "knn", "knn-1"), "Most accurate")
    assert said.startswith("Most accurate: ragicl, accuracy 0.782")
    assert said.endswith("The next is knn, at −0.047 (−0.077 to −0.017; p < 0.001).")


def test_the_engine_wins_a_draw():
    report = only(label_set(), "ragicl", "full")
    ours = next(m for m in report.methods if m.name == "ragicl")
    report = changed(report, "full", scores=ours.scores, against=paired(0.0, p=1.0))
    assert best_of(report).name == "ragicl"
    assert "cannot tell from chance" in sentence(report, "Most accurate: ragicl")


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (
            0.05,
            "ragicl adds nothing to the neighbours' vote here: the vote is better",
        ),
        (0.01, "ragicl adds nothing to the neighbours' vote here: no gain that"),
        (-0.01, "ragicl adds nothing to the neighbours' vote here: no gain that"),
        (-0.05, "ragicl adds to the neighbours' vote: accuracy 0.735 of knn against 0.782"),
    ],
)
def test_whether_more_than_the_vote_is_worth_asking(difference, words):
    report = changed(label_set(), "knn", against=paired(difference, half=0.03))
    assert sentence(report, words)
    if difference > -0.03:
        assert "6.1 ms by the vote and 152 ms by ragicl" in sentence(report, "ragicl adds")


def test_what_the_language_model_alone_has_is_told_beside_the_vote():
    told = " The language model alone (icl) has accuracy 0.642 (0.612 to 0.672)."
    assert sentence(label_set(), "ragicl adds").endswith(told)
    assert "alone" not in sentence(only(label_set(), "ragicl", "knn"), "ragicl adds")


def test_the_cheapest_beside_the_engine_goes_by_the_paired_difference():
    report = only(label_set(), "ragicl", "knn", "knn-1")
    report = changed(report, "knn", against=paired(-0.02))
    said = sentence(report, "Little compute: knn is the cheapest that is not significantly worse,")
    assert "training and 1,000 answers take 6.1 s, against 2.5 min with ragicl." in said


def test_the_cheapest_beside_another_says_what_it_was_judged_by():
    report = only(label_set(), "ragicl", "lora", "full", "partial")
    report = changed(report, "full", cost=replace(report.methods[0].cost, train_seconds=9.0))
    said = sentence(report, "Little compute: full is the cheapest")
    assert "(its interval reaches the figure of lora)" in said


def test_the_engine_is_the_cheapest_where_the_best_is_no_real_gain():
    said = sentence(text_set(), "Little compute: ragicl is the cheapest")
    assert "ROUGE-L 0.436 (0.406 to 0.466)" in said
    assert "38 min, against 1.3 h with lora" in said


def test_where_nothing_cheaper_will_do_the_best_for_a_tenth():
    said = sentence(label_set(), "Little compute: lora as well")
    assert "for a tenth of that or less probe is the best, accuracy 0.861" in said
    report = only(label_set(), "lora", "full")
    assert sentence(report, "Little compute") == (
        "Little compute: lora as well, training and 1,000 answers take 31 min."
    )


def test_distances_stand_beside_their_floors():
    said = sentence(label_set(), "Distance of ragicl to fine-tuning (total variation; noise floor")
    assert "full 0.268 (0.248 to 0.288) (icl: 0.536), 3.8 times its noise floor of 0.071" in said
    assert "prompt-tuning 0.221 (0.201 to 0.241) (icl: 0.442), not clearly above" in said
    assert "above its noise floor of 0.215" in said
    assert "probe" not in said  # it was not fine-tuned


def test_a_floor_that_is_not_known_or_nothing():
    report = label_set(distances=(distance("full", 0.2, None),))
    assert "full 0.200 (0.180 to 0.220) (icl: 0.400), noise floor not known." in sentence(
        report, "Distance"
    )
    still = replace(distance("head", 0.2, None), noise_floor=interval(0.0, 0.0))
    assert "above its noise floor of 0.000." in sentence(label_set(distances=(still,)), "Distance")


def test_labels_there_were_and_what_more_of_them_did():
    said = sentence(label_set(), "Few labels: all figures are with 500 examples, 83 a label.")
    assert "From 25 to 500 of them, icl goes from 0.410" in said
    assert "0.050 (0.010 to 0.090) of it stay" in said
    bare = sentence(label_set(curves=()), "Few labels")
    assert bare == "Few labels: all figures are with 500 examples, 83 a label."


def test_bytes_of_many_tasks():
    said = sentence(label_set(), "Many tasks on one base model")
    assert "stores 0 B with ragicl (accuracy 0.782), 14 kB with head" in said
    assert said.endswith("269 MB with full (accuracy 0.905).")
    assert silent(only(label_set(), "ragicl", "knn"), "Many tasks")


def test_probabilities_that_are_off_are_warned_of():
    said = sentence(label_set(), "Probabilities: those of ragicl are off by 0.130")
    assert "mostly too sure" in said
    assert said.endswith("those of lora by 0.050.")
    scores = replace(label_set().methods[0].scores, ece=interval(0.06, 0.02))
    assert silent(changed(label_set(), "ragicl", scores=scores), "Probabilities")


def test_leaks_are_told_where_they_change_a_score():
    said = sentence(label_set(), "Leak: the text of 6 of 400 test rows")
    assert "0.778 instead of 0.782 for ragicl and 0.908 instead of 0.912 for lora." in said
    same = tuple(replace(m, clean=m.scores) for m in label_set().methods)
    assert silent(label_set(methods=same), "Leak")
    assert silent(text_set(), "Leak")


def test_no_figures_no_sentences():
    assert recommend(label_set(methods=(), distances=(), curves=())) == ()
    alone = only(label_set(distances=(), curves=()), "ragicl")
    said = [words.split(":")[0] for words in recommend(alone)]
    assert said == ["Most accurate", "Few labels", "Probabilities", "Leak"]


def test_without_the_engine_nothing_is_compared_with_it():
    report = only(label_set(distances=()), "lora", "full")
    assert (
        sentence(report, "Most accurate") == "Most accurate: lora, accuracy 0.912 (0.882 to 0.942)."
    )
    assert silent(report, "ragicl adds")
    assert silent(report, "Probabilities")


def test_an_interval_that_ends_at_0_is_not_real():
    assert not is_real(paired(0.03, half=0.03))
    assert is_real(paired(0.031, half=0.03))
