"""Which states of a text are taken: the ones that tell the labels apart."""

import numpy as np

from ragicl.probes.views import MOST, VIEWS, View, best_views, joined, seen, shares_of

ROWS, WIDTH = 60, 16


def states(informative):
    """States of two labels, told apart in some of the views only."""
    draw = np.random.default_rng(0)
    gold = np.arange(ROWS) % 2
    found = draw.normal(size=(ROWS, len(VIEWS), WIDTH)).astype(np.float32)
    for view in informative:
        found[:, VIEWS.index(view), 0] += 3 * (2 * gold - 1)
    return found, gold


def test_the_view_that_tells_labels_apart_is_taken_first():
    for view in VIEWS:
        assert best_views(*states([view]), 2)[0] == view


def test_views_that_add_nothing_are_left():
    one = View(0.75)
    assert best_views(*states([one]), 2) == (one,)


def test_views_that_add_something_are_taken_together_but_not_all():
    found, gold = states(VIEWS)
    chosen = best_views(found, gold, 2)
    assert 1 < len(chosen) <= MOST
    assert len(set(chosen)) == len(chosen)


def test_each_view_is_a_unit_vector_whatever_its_length():
    found = np.array([[[3.0, 4.0], [0.0, 100.0]]])
    np.testing.assert_allclose(joined(found), [[0.6, 0.8, 0.0, 1.0]])


def test_views_are_picked_by_depth_and_position():
    shares = shares_of([View(0.75), View(0.5, answer=False), View(0.75, answer=False)])
    assert shares == (0.5, 0.75)
    taken = np.arange(2 * 2 * 3).reshape(1, 2, 2, 3)
    views = [View(0.75), View(0.5, answer=False)]
    np.testing.assert_array_equal(seen(taken, shares, views), [[[9, 10, 11], [0, 1, 2]]])
