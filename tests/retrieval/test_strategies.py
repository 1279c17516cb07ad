"""Choosing demonstrations by words, diversity, labels or at random, through an engine."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragicl import Engine, Example, Index, Policy, TaskError
from ragicl.backends.fake import FakeEncoder, FakeLM
from ragicl.policy import Selection
from ragicl.prompting.template import plain_template
from ragicl.records import Neighbor
from ragicl.retrieval.balanced import balanced, coverage
from ragicl.retrieval.bm25 import WordIndex, fused
from ragicl.retrieval.strategies import STRATEGIES

LABELS = {
    "late": "where is my parcel it has not come late delivery van",
    "lost": "my card is lost stolen gone missing blocked today",
    "reset": "reset the password pin forgot login locked account",
    "refund": "money back refund return charge twice bill wrong",
}
ROWS = [
    (" ".join([*words.split()[n : n + 4], f"number {n}"]), label)
    for label, words in LABELS.items()
    for n in range(6)
]
TEXTS = ["my parcel is late", "card gone today", "the password", "charge on my card", "hello"]


@pytest.fixture
def index(tmp_path, encoder):
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add(
            [
                Example(text, label, str(n), {"team": "ab"[n % 2], "n": n})
                for n, (text, label) in enumerate(ROWS)
            ]
        )
        yield index


def engine_of(index, **policy):
    return Engine(index, FakeLM(), plain_template(index.kind), Policy(**policy))


def found(index, texts=TEXTS, exclude=None, **policy):
    answers = engine_of(index, **policy).predict_all(texts, exclude=exclude)
    return [answer.neighbors for answer in answers]


def ids(neighbors):
    return [n.example.id for n in neighbors]


def near_of(labels):
    return [
        Neighbor(Example(f"text {i}", label, str(i)), 1 - i / 100, i)
        for i, label in enumerate(labels)
    ]


# ------------------------------------------------------------------------- every strategy


def test_every_name_has_a_strategy():
    assert tuple(STRATEGIES) == get_args(Selection)


@pytest.mark.parametrize("select", list(STRATEGIES))
def test_choices_are_k_distinct_ranked_and_carry_their_similarity(index, select):
    index.add([Example(f" {text.upper()} ", label) for text, label in ROWS])  # duplicates
    vectors = FakeEncoder().encode(TEXTS)
    for vector, own in zip(vectors, found(index, select=select, k=6), strict=True):
        contents = {(" ".join(n.example.input.lower().split()), n.example.output) for n in own}
        assert len(own) == len(contents) == 6
        assert [n.rank for n in own] == list(range(6))
        stored = index.vectors_of(ids(own))
        assert [n.similarity for n in own] == pytest.approx((stored @ vector).tolist(), abs=2e-6)
        if select not in ("bm25", "hybrid"):
            assert [n.similarity for n in own] == sorted((n.similarity for n in own), reverse=True)


@pytest.mark.parametrize("select", list(STRATEGIES))
def test_an_answer_does_not_depend_on_the_batch(index, select):
    together = found(index, select=select, k=5)
    assert together == [found(index, [text], select=select, k=5)[0] for text in TEXTS]
    assert together == found(index, TEXTS * 5, select=select, k=5)[-5:]


@pytest.mark.parametrize("select", list(STRATEGIES))
def test_examples_are_left_out_of_their_own_search(index, select):
    texts, own = [text for text, _ in ROWS], [str(n) for n in range(len(ROWS))]
    for identity, chosen in zip(own, found(index, texts, own, select=select, k=23), strict=True):
        assert set(ids(chosen)) == set(own) - {identity}


@pytest.mark.parametrize("select", list(STRATEGIES))
def test_labels_and_metadata_limit_every_strategy(index, select):
    where, labels = (("team", "b"),), ("late", "refund")
    for own in found(index, select=select, k=9, where=where, labels=labels):
        assert len(own) == 6
        assert {n.example.output for n in own} == set(labels)
        assert {n.example.meta["team"] for n in own} == {"b"}
    for own in found(index, select=select, k=9, where=(("team", "b"), ("n", "7"))):
        assert ids(own) == ["7"]


@pytest.mark.parametrize("select", list(STRATEGIES))
def test_added_examples_are_found_and_removed_ones_do_not_come_back(index, select):
    engine = engine_of(index, select=select, k=30)
    text = "gift voucher broken"
    assert "new" not in ids(engine.predict(text).neighbors)
    engine.add([Example(text, "late", "new")])
    assert "new" in ids(engine.predict(text).neighbors)
    engine.remove(["new", "0"])
    assert set(ids(engine.predict(text).neighbors)) == {str(n) for n in range(1, len(ROWS))}


@pytest.mark.parametrize("select", list(STRATEGIES))
def test_no_demonstrations_and_an_almost_empty_index(index, select):
    assert found(index, select=select, k=0) == [()] * len(TEXTS)
    index.remove([str(n) for n in range(len(ROWS)) if n not in (0, 7)])
    assert [set(ids(own)) for own in found(index, select=select, k=4)] == [{"0", "7"}] * len(TEXTS)


@pytest.mark.parametrize("select", list(STRATEGIES))
def test_votes_and_shortlists_go_by_the_nearest(index, select):
    usual = engine_of(index, shortlist=3, k=4).pipeline.retriever.find(TEXTS, [None] * 5, {})
    other = engine_of(index, shortlist=3, k=4, select=select).pipeline.retriever.find(
        TEXTS, [None] * 5, {}
    )
    assert [own.shortlist for own in other] == [own.shortlist for own in usual]
    assert [own.voters[:4] for own in other] == [own.neighbors for own in usual]
    assert found(index, k=4, decide="knn", select=select) == found(index, k=4, decide="knn")


@pytest.mark.parametrize("select", ["balanced", "coverage"])
def test_strategies_by_label_refuse_an_index_of_texts(tmp_path, encoder, select):
    with Index.create(tmp_path / "texts", encoder=encoder, kind="generate") as texts:
        texts.add([Example("say hello", "hello there"), Example("say bye", "good bye now")])
        with pytest.raises(TaskError, match=r"goes by labels.*use one of nearest, bm25"):
            engine_of(texts, select=select)
        assert len(found(texts, ["say it"], select="mmr", k=2)[0]) == 2


def test_removal_while_choosing_costs_a_candidate_and_no_more(index, monkeypatch):
    usual = Index.near

    def near(self, *arguments, **options):
        seen = usual(self, *arguments, **options)
        if "3" in self.get(["3"]):
            self.remove(["3"])
        return seen

    monkeypatch.setattr(Index, "near", near)
    for select in ("mmr", "dpp"):
        (own,) = found(index, ["my parcel"], select=select, k=30)
        assert "3" not in ids(own)
        assert len(own) == len(ROWS) - 1


# ---------------------------------------------------------------------------------- words


def test_words_find_an_exact_match_and_fill_up_with_the_nearest(index):
    index.add([Example("error ZX-81 on start", "late", "zx")])
    (own,) = found(index, ["what is zx"], select="bm25", k=8)
    assert ids(own)[0] == "zx"
    (near,) = found(index, ["what is zx"], k=16)
    words = [n.example.input.lower().replace("-", " ").split() for n in own]
    shared = [n.example.id for n, own in zip(own, words, strict=True) if {"is", "zx"} & set(own)]
    assert 1 < len(shared) < 8
    assert ids(own) == [*shared, *(i for i in ids(near) if i not in shared)][:8]
    (nothing,) = found(index, ["qqq"], select="bm25", k=5)
    assert nothing == found(index, ["qqq"], k=5)[0]


def test_bm25_scores_are_those_of_its_formula(index):
    from math import log

    documents = [text.lower().split() for text, _ in ROWS]
    mean = sum(map(len, documents)) / len(documents)

    def score(query, document):
        total = 0.0
        for word in query.split():
            having = sum(word in other for other in documents)
            often = document.count(word)
            idf = log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            total += idf * often / (often + 1.5 * (1 - 0.75 + 0.75 * len(document) / mean))
        return total

    query = "my card number"
    scores = [score(query, document) for document in documents]
    expected = sorted((i for i, s in enumerate(scores) if s > 0), key=lambda i: (-scores[i], i))
    (ranked,) = WordIndex(index).ranked([query], FakeEncoder().encode([query]), 100)
    assert len(ranked) == len(expected)
    assert [scores[int(i)] for i in ids(ranked)] == pytest.approx([scores[i] for i in expected])
    (first,) = WordIndex(index).ranked([query], FakeEncoder().encode([query]), 3)
    assert first == ranked[:3]


def test_index_without_words_is_ranked_by_nearness(tmp_path, encoder):
    with Index.create(tmp_path / "signs", encoder=encoder) as signs:
        signs.add([Example("!!!", "a"), Example("???", "b"), Example("...", "c")])
        assert len(found(signs, ["?!"], select="bm25", k=3)[0]) == 3
        assert len(found(signs, ["?!"], select="hybrid", k=3)[0]) == 3
        assert WordIndex(signs).ranked(["?!"], encoder.encode(["?!"]), 3) == [[]]


def test_word_index_is_built_once_for_one_state(index, monkeypatch):
    words, built = WordIndex(index), []
    usual = WordIndex._built

    def counted(self, generation):
        built.append(generation)
        return usual(self, generation)

    monkeypatch.setattr(WordIndex, "_built", counted)
    vectors, gate = FakeEncoder().encode(["my card"]), threading.Barrier(8)

    def ask(_):
        gate.wait()
        return words.ranked(["my card"], vectors, 5)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert len(built) == 1
    index.remove(["8"])
    assert "8" not in ids(words.ranked(["my card"], vectors, 50)[0])
    assert len(built) == 2


def test_writer_beside_words_never_brings_a_removed_example_back(index):
    engine = engine_of(index, select="bm25", k=40)
    stop = threading.Event()

    def writer():
        for n in range(60):
            index.add([Example(f"card extra {n}", "lost", f"x{n}")])
            index.remove([f"x{n}"])
        stop.set()

    thread = threading.Thread(target=writer)
    thread.start()
    while not stop.is_set():
        assert set(ids(engine.predict("card").neighbors)) >= {str(n) for n in range(6, 10)}
    thread.join()
    assert set(ids(engine.predict("card extra").neighbors)) == {str(n) for n in range(len(ROWS))}


def test_fusion_by_hand():
    a, b, c, d = near_of("abcd")
    by_meaning, by_words = (a, b, c), (c, a, d)
    # a: 1/61 + 1/62, c: 1/63 + 1/61, b: 1/62, d: 1/63
    assert [n.example.output for n in fused((by_meaning, by_words), 4)] == ["a", "c", "b", "d"]
    assert [n.rank for n in fused((by_meaning, by_words), 3)] == [0, 1, 2]
    # of equals, the more similar one
    assert [n.example.output for n in fused(((b,), (a,)), 2)] == ["a", "b"]
    copy = Neighbor(Example("TEXT 0", "a", "other"), 0.5, 0)
    assert [n.example.id for n in fused(((a,), (copy,)), 2)] == ["0"]


# --------------------------------------------------------------------------------- labels

labellings = st.lists(st.sampled_from("abcd"), min_size=1, max_size=40)


@given(labellings, st.integers(1, 12))
def test_balanced_numbers_differ_by_one_unless_a_label_runs_out(labels, k):
    near = near_of(labels)
    chosen = balanced(near, k)
    counts, all_counts = Counter(n.example.output for n in chosen), Counter(labels)
    assert len(chosen) == min(k, len(labels))
    assert set(counts) <= set(labels[:k])
    most = max(counts.values())
    for label in set(labels[:k]):
        assert counts[label] >= most - 1 or counts[label] == all_counts[label]
        own = [n.example.id for n in near if n.example.output == label]
        assert [n.example.id for n in chosen if n.example.output == label] == own[: counts[label]]
    assert [n.similarity for n in chosen] == sorted((n.similarity for n in chosen), reverse=True)


def test_balanced_favours_the_likelier_label_with_what_is_left():
    chosen = balanced(near_of("abbbbaaa"), 5)  # the vote of the 5 nearest: b
    assert Counter(n.example.output for n in chosen) == {"b": 3, "a": 2}


@given(labellings, st.integers(1, 12), st.none() | st.integers(1, 40))
def test_coverage_covers_and_then_goes_by_similarity(labels, k, reach):
    near = near_of(labels)
    chosen = coverage(near, k, reach)
    firsts = [labels.index(label) for label in dict.fromkeys(labels[:reach])]
    others = [i for i in range(len(labels)) if i not in firsts]
    assert [int(n.example.id) for n in chosen] == sorted([*firsts, *others][:k])
    assert [n.rank for n in chosen] == list(range(len(chosen)))


# --------------------------------------------------------------------------------- random


def test_random_goes_by_seed_and_text(index):
    drawn = [frozenset(ids(own)) for own in found(index, select="random", k=8)]
    again = [frozenset(ids(own)) for own in found(index, select="random", k=8)]
    other = [frozenset(ids(own)) for own in found(index, select="random", k=8, seed=1)]
    assert drawn == again
    assert len({*drawn, *other}) == 2 * len(TEXTS)


# -------------------------------------------------------------------------------- filters


def test_where_holds_for_votes_fixed_demonstrations_and_groups(index):
    where = (("team", "b"),)
    odd = {str(n) for n in range(1, len(ROWS), 2)}
    engine = engine_of(index, where=where, k=3, fixed=4)
    prompt = engine.prompt("my parcel is late")
    assert {n.example.id for n in prompt.shots} <= odd
    assert len(prompt.shots) >= 6
    assert set(ids(found(index, where=where, k=30, decide="knn")[0])) == odd
    with engine_of(index, where=where, k=3) as one:
        sample, _ = one.pipeline.cascade._loo_sample(one.labels)
        assert {e.id for e in sample} == odd


def test_nothing_matches_is_an_error_that_names_the_keys(index):
    with pytest.raises(TaskError, match=r"has team=c and n=1; team is a, b; n is 0, 1, 2"):
        found(index, where=(("team", "c"), ("n", "1")))
    index.update([Example(text, label, str(n)) for n, (text, label) in enumerate(ROWS)])
    with pytest.raises(TaskError, match="they have no metadata"):
        found(index, where=(("team", "a"),))


def test_policy_refuses_unknown_names():
    with pytest.raises(TaskError, match=r"select is 'best'; use one of nearest, bm25"):
        Policy(select="best")
    with pytest.raises(TaskError, match=r"order is 'grouped'; use one of nearest-last"):
        Policy(order="grouped")


def test_order_of_the_prompt(index):
    near = found(index, ["my card"], k=4)[0]
    for order, expected in (("nearest-first", near), ("nearest-last", near[::-1])):
        shots = engine_of(index, k=4, order=order).prompt("my card").shots
        assert shots == tuple(expected)
    policy = Policy(k=8, order="shuffled")
    shuffled = [
        Engine(index, FakeLM(), plain_template("classify"), replace(policy, seed=seed))
        .prompt("my card")
        .shots
        for seed in (0, 0, 1)
    ]
    assert shuffled[0] == shuffled[1] != shuffled[2]
