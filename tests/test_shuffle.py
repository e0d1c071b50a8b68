"""The order of an epoch: every row once, a new order each epoch, sorted data mixed."""

import numpy as np
import pytest

from sgdfit.kernel.shuffle import sequential, shuffled

SIZES = [*range(4), 63, 64, 65, 100, 16_383, 16_384, 16_385, 20_000, 100_001]
MILLION = 1_000_000


@pytest.mark.parametrize("rows", SIZES)
def test_every_row_is_visited_once(rows):
    for order in (sequential(rows), shuffled(rows, 5, 2)):
        assert order.rows == rows
        assert np.array_equal(np.sort(order.indices()), np.arange(rows))
    assert np.array_equal(sequential(rows).indices(), np.arange(rows))


@pytest.mark.parametrize("rows", [100, 16_385, 100_001])
def test_seed_and_epoch_decide_the_order(rows):
    first = shuffled(rows, 5, 2).indices()
    assert np.array_equal(first, shuffled(rows, 5, 2).indices())
    for seed, epoch in ((5, 3), (6, 2), (2, 5), (0, 0)):
        # Two random orders agree in one place on average.
        assert np.count_nonzero(first == shuffled(rows, seed, epoch).indices()) < 20


@pytest.mark.parametrize("seed", range(2))
def test_sorted_rows_are_mixed(seed):
    """Of a million sorted rows, each batch is like one drawn at random from all of them."""
    order = shuffled(MILLION, seed, 0)
    batches = order.indices().reshape(-1, 64) / MILLION
    assert (batches.max(axis=1) - batches.min(axis=1)).min() > 0.6
    means = batches.mean(axis=1)
    # A mean of 64 uniform numbers has a standard deviation of 1/sqrt(12 * 64) = 0.0361. The
    # sixteen batches of each buffer draw from the sixteenths in the same proportions.
    assert means.std() == pytest.approx(0.0361, rel=0.4)
    assert np.abs(means - 0.5).max() < 5 * 0.0361
    # Nor do batches drift: ten in a row average out.
    drift = means[: len(order.blocks) // 10 * 10].reshape(-1, 10).mean(axis=1)
    assert drift.std() < 0.0361 / np.sqrt(10) * 1.1


def test_no_row_comes_last_each_time():
    """Over many epochs every row stands anywhere, those at the ends of the data too."""
    rows, epochs = 16_500, 400
    places = np.empty((epochs, 3))
    for epoch in range(epochs):
        place = np.empty(rows)
        place[shuffled(rows, 9, epoch).indices()] = np.arange(rows) / rows
        places[epoch] = place[[0, rows // 2, rows - 1]]
    # The mean of 400 uniform numbers strays from 0.5 by 0.0144.
    np.testing.assert_allclose(places.mean(axis=0), 0.5, atol=4 * 0.0144)
