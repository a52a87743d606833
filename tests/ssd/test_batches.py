"""Layers as one batch have the matrices that each has alone."""

from dataclasses import replace

import pytest
import torch

from components.ssd import EditedRows, SSDTerms, batches, effective_attention, mean_distance, stacked
from tests.charts.conftest import random_softmax
from tests.ssd.oracle import random_terms


def one(seed: int, groups: int = 1) -> SSDTerms:
    """The terms of a layer over one text."""
    return random_terms(seed, 40, batch=1, groups=groups)


def test_alike_neighbours_are_one_batch_in_their_order() -> None:
    layers = [one(0), one(1), one(2, groups=2), random_softmax(40, 2), one(3), one(4)]
    found = list(stacked(layers))
    assert [each.batch for each in found] == [2, 1, 1, 2]
    assert found[1] is layers[2]
    assert found[2] is layers[3]
    for batch, alone in ((found[0], layers[:2]), (found[3], layers[4:])):
        assert isinstance(batch, SSDTerms)
        assert batch.A.isnan().all()
        assert batch.D.isnan().all()
        assert not batch.x.numel()
        for of_each in (effective_attention, lambda terms: mean_distance(terms).value):
            expected = torch.cat([of_each(each) for each in alone])
            torch.testing.assert_close(of_each(batch), expected, rtol=1e-6, atol=1e-7)


def test_layers_with_edited_rows_come_as_they_are() -> None:
    rows = (EditedRows(3, torch.zeros(1, one(0).heads, 2, 40)),)
    layers = [one(0), replace(one(1), edited_attention=rows), one(2)]
    assert list(stacked(layers)) == layers


def test_a_batch_stays_within_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    of_one = sum(getattr(one(0), name).nbytes for name in ("B", "C", "dt", "cum_log_decay"))
    monkeypatch.setattr(batches, "STACKED_BYTES", 3 * of_one - 1)
    assert [each.batch for each in stacked(one(seed) for seed in range(5))] == [2, 2, 1]
    monkeypatch.setattr(batches, "STACKED_BYTES", 1)
    assert [each.batch for each in stacked(one(seed) for seed in range(3))] == [1, 1, 1]


def test_there_may_be_no_layer() -> None:
    assert not list(stacked([]))
