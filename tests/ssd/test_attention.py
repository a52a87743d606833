"""The blocked attention against the formulas written out in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ssd import SSDTerms, content, decay, effective_attention
from tests.ssd.oracle import naive_attention, naive_content, naive_decay, random_terms


def relative_error(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found.double() - truth).abs().max() / truth.abs().max().clamp_min(1e-30))


@given(
    seed=st.integers(0, 2**31),
    length=st.integers(1, 200),
    groups=st.sampled_from([1, 2, 4]),
    state=st.sampled_from([1, 8, 128]),
    decay_strength=st.sampled_from([0.0, 1e-3, 0.1, 30.0]),
    with_dt=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_all_entries_equal_the_formulas(
    seed: int, length: int, groups: int, state: int, decay_strength: float, with_dt: bool
) -> None:
    terms = random_terms(seed, length, groups=groups, state=state, decay_strength=decay_strength)
    for found, truth in (
        (effective_attention(terms, include_dt_scaling=with_dt), naive_attention(terms, with_dt)),
        (decay(terms, include_dt_scaling=with_dt), naive_decay(terms, with_dt)),
        (content(terms, include_dt_scaling=with_dt), naive_content(terms, with_dt)),
    ):
        assert relative_error(found, truth) <= 1e-6
        assert torch.equal(found.triu(1), torch.zeros_like(found))


@given(data=st.data(), length=st.integers(1, 180), with_dt=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_heads_and_windows_are_cut_out_of_the_whole(
    data: st.DataObject, length: int, with_dt: bool
) -> None:
    terms = random_terms(length, length, groups=2)

    def indices(size: int) -> slice | list[int] | None:
        one = st.integers(-size, size - 1)
        bounds = st.tuples(st.none() | one, st.none() | one, st.sampled_from([None, 1, 3]))
        return data.draw(st.none() | st.lists(one, min_size=1, max_size=90) | bounds.map(lambda b: slice(*b)))

    def picked(size: int, which: slice | list[int] | None) -> torch.Tensor:
        return torch.arange(size)[slice(None) if which is None else which]

    heads, queries, keys = indices(8), indices(length), indices(length)
    whole = naive_attention(terms, with_dt)
    truth = whole[:, picked(8, heads)][:, :, picked(length, queries)][..., picked(length, keys)]
    found = effective_attention(terms, heads=heads, queries=queries, keys=keys, include_dt_scaling=with_dt)
    assert found.shape == truth.shape
    torch.testing.assert_close(found.double(), truth, rtol=0, atol=1e-6 * float(whole.abs().max()))


def test_attention_is_content_times_decay() -> None:
    terms = random_terms(0, 150, groups=2)
    torch.testing.assert_close(
        effective_attention(terms), content(terms) * decay(terms), rtol=1e-5, atol=1e-7
    )
    scaled = effective_attention(terms, include_dt_scaling=True)
    torch.testing.assert_close(
        scaled, effective_attention(terms) * terms.dt.transpose(1, 2)[:, :, None], rtol=1e-5, atol=1e-7
    )


def test_head_reads_its_own_group() -> None:
    terms = random_terms(0, 5, groups=4)
    for head in range(8):
        group = head // 2
        expected = (terms.C[:, :, group] @ terms.B[:, :, group].transpose(1, 2)).tril()
        torch.testing.assert_close(content(terms, heads=[head])[:, 0], expected)


def test_float64_sum_keeps_the_error_small_where_a_float32_sum_does_not() -> None:
    terms = random_terms(0, 2048, batch=1, decay_strength=10.0)
    truth = naive_attention(terms, False, heads=[7])
    single = (terms.dt * terms.A).cumsum(1).transpose(1, 2)[:, 7]
    textbook = (single[:, :, None] - single[:, None]).exp().tril() * naive_content(terms, False, heads=[7])[
        :, 0
    ]
    assert relative_error(effective_attention(terms, heads=[7]), truth) <= 1e-6
    assert relative_error(textbook, truth[:, 0]) > 1e-5


@pytest.mark.parametrize(("argument", "size"), [("heads", 8), ("queries", 5), ("keys", 5)])
def test_an_index_that_does_not_exist_is_named(argument: str, size: int) -> None:
    terms = random_terms(0, 5)
    for index in (size, -size - 1):
        with pytest.raises(IndexError, match=rf"no .* {index}: there are {size}"):
            effective_attention(terms, **{argument: [index]})


def test_terms_that_do_not_fit_are_refused() -> None:
    good = {
        "x": torch.ones(1, 3, 8, 2),
        "B": torch.ones(1, 3, 2, 4),
        "C": torch.ones(1, 3, 2, 4),
        "dt": torch.ones(1, 3, 8),
        "A": -torch.ones(8),
        "D": torch.ones(8),
    }
    SSDTerms.from_parts(**good)
    with pytest.raises(ValueError, match="8 heads do not divide into 3 groups"):
        SSDTerms.from_parts(**good | {"B": torch.ones(1, 3, 3, 4), "C": torch.ones(1, 3, 3, 4)})
