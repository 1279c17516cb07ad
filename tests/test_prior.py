import numpy as np
import pytest
from conftest import HashEncoder

import ragicl.prior
from ragicl import Example, Index
from ragicl.prior import Prior


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", encoder=HashEncoder()) as index:
        index.add(
            [Example(f"sweet apple {i}", "fruit", f"f{i}") for i in range(8)]
            + [Example(f"steel saw {i}", "tool", f"t{i}") for i in range(8)]
        )
        yield index


def labels_of(index):
    return lambda: tuple(index.labels())


def asked(prior, text, own=None):
    fitted = prior.get()
    values = fitted.values(HashEncoder().encode([text]), [own])
    return dict(zip(fitted.labels, fitted.ridge.likely(values)[0], strict=True))


def test_a_taught_label_counts_at_once(index):
    prior = Prior(index, labels_of(index))
    assert asked(prior, "steel saw")["tool"] > 0.7
    index.add([Example(f"blue whale {i}", "animal") for i in range(4)])
    assert asked(prior, "blue whale")["animal"] > 0.5


def test_an_example_is_left_out_of_its_own_evidence(index):
    index.add([Example("odd one", "tool", "odd"), Example("odd two", "fruit")])
    prior = Prior(index, labels_of(index))
    assert asked(prior, "odd one")["tool"] > asked(prior, "odd one", "odd")["tool"] + 0.1


def test_a_large_index_is_fitted_anew_after_many_changes(index, monkeypatch):
    monkeypatch.setattr(ragicl.prior, "SMALL", 0)
    prior = Prior(index, labels_of(index))
    fitted = prior.get()
    index.add([Example("one more apple", "fruit")])
    assert prior.get() is fitted
    index.add([Example(f"many more apples {i}", "fruit") for i in range(5)])
    assert prior.get() is not fitted


def test_familiarity_ranks_a_text_among_the_examples(index):
    fitted = Prior(index, labels_of(index)).get()
    vectors = HashEncoder().encode(["sweet apple 3", "sweet thing", "neutrino flux"])
    others = index.vectors()[1]
    shares = fitted.familiarity(fitted.values(vectors, [None] * 3), (vectors @ others.T).max(1))
    assert shares[0] > 0.5 > shares[1] >= shares[2] == 0
    assert np.all((shares >= 0) & (shares <= 1))
