from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ssd import (
    SSDTerms,
    effective_attention,
    pooled_attention,
    pooled_content,
    pooled_decay,
    pooling,
    tile_edges,
)


def terms_of(
    length: int, *, seed: int = 0, heads: int = 4, groups: int = 2, state: int = 8, rate: float = 1.0
) -> SSDTerms:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return SSDTerms.from_parts(
        x=normal(1, length, heads, 2),
        B=normal(1, length, groups, state),
        C=normal(1, length, groups, state),
        dt=normal(1, length, heads).exp() * rate,
        A=-normal(heads).exp(),
        D=normal(heads),
    )


@contextmanager
def limits_of(way: str) -> Iterator[None]:
    """Both ways on short texts: rows of M a few at a time, or leaves of a few positions."""
    separated = way == "separated"
    entries = dict.fromkeys(pooling.DIRECT_ENTRIES, 0 if separated else 10**9)
    changes = {"DIRECT_ENTRIES": entries, "DIRECT_BYTES": 20_000, "LEAF_POSITIONS": 16}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setattr(pooling, name, value)
        yield


def pooled_from_the_whole(
    terms: SSDTerms, tiles: int, queries: range, keys: range, statistic: str, with_dt: bool
) -> torch.Tensor:
    """The definition: all of M in float64, and the mean of each tile."""
    cum = terms.cum_log_decay
    L = (cum[..., :, None] - cum[..., None, :]).tril().exp().tril()
    match = torch.einsum("bign,bjgn->bgij", terms.C.double(), terms.B.double())
    M = L * match.repeat_interleave(terms.heads_per_group, dim=1)
    if with_dt:
        M = M * terms.dt.double().transpose(1, 2)[:, :, None]
    window = M[..., queries.start : queries.stop, keys.start : keys.stop]
    rows, columns = shares_of_tiles(len(queries), tiles), shares_of_tiles(len(keys), tiles)
    return rows @ window @ columns.T if statistic == "mean" else (rows @ window.square() @ columns.T).sqrt()


def shares_of_tiles(length: int, tiles: int) -> torch.Tensor:
    """The share of each position in the mean of each tile, [tiles, positions]."""
    edges, positions = torch.as_tensor(tile_edges(length, tiles))[:, None], torch.arange(length)
    inside = ((edges[:-1] <= positions) & (positions < edges[1:])).double()
    return inside / inside.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("way", ["entry by entry", "separated"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_pooling_is_that_of_the_whole_matrix(way: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 300))
    groups = data.draw(st.sampled_from([1, 2, 4]))
    terms = terms_of(
        length,
        seed=data.draw(st.integers(0, 99)),
        groups=groups,
        state=data.draw(st.sampled_from([1, 3, 16])),
        rate=data.draw(st.sampled_from([0.0, 1e-3, 0.1, 1.0, 30.0])),
    )
    tiles = data.draw(st.integers(1, 40))
    windows = []
    for _ in range(2):
        start = data.draw(st.integers(0, length - 1))
        windows.append(range(start, data.draw(st.integers(start + 1, length))))
    queries, keys = windows if data.draw(st.booleans()) else (range(length), range(length))
    statistic = data.draw(st.sampled_from(["mean", "rms"]))
    with_dt = data.draw(st.booleans())
    with limits_of(way):
        found = pooled_attention(
            terms,
            tiles=tiles,
            queries=slice(queries.start, queries.stop),
            keys=slice(keys.start, keys.stop),
            statistic=statistic,
            include_dt_scaling=with_dt,
        )
    expected = pooled_from_the_whole(terms, tiles, queries, keys, statistic, with_dt)
    largest = effective_attention(terms, include_dt_scaling=with_dt).abs().max().item() or 1.0
    # Separated, the root of a sum of squares that nearly cancels is the root of its rounding error.
    tolerance = 1e-3 if (way, statistic) == ("separated", "rms") else 2e-6
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=tolerance * largest)


@pytest.mark.parametrize("way", ["entry by entry", "separated"])
@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 300), tiles=st.integers(1, 40), seed=st.integers(0, 99), start=st.floats(0, 1))
def test_content_and_decay_pool_as_attention_does(
    way: str, length: int, tiles: int, seed: int, start: float
) -> None:
    terms = terms_of(length, seed=seed)
    keys = range(int(start * (length - 1)), length)
    with limits_of(way):
        match, left = (
            pooled(terms, tiles=tiles, keys=slice(keys.start, keys.stop))
            for pooled in (pooled_content, pooled_decay)
        )
    everywhere = torch.ones_like(terms.B)[..., :1]
    for found, alone in (
        (match, replace(terms, cum_log_decay=torch.zeros_like(terms.cum_log_decay))),
        (left, replace(terms, B=everywhere, C=everywhere)),
    ):
        expected = pooled_from_the_whole(alone, tiles, range(length), keys, "mean", False)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("rate", [1e-3, 5.0])
def test_many_tiles_under_weak_and_strong_decay(rate: float) -> None:
    terms = terms_of(400, rate=rate)
    with limits_of("separated"):
        found = pooled_attention(terms, tiles=100, statistic="rms")
    expected = pooled_from_the_whole(terms, 100, range(400), range(400), "rms", False)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("length", "statistic"), [(2100, "mean"), (2500, "rms")])
def test_tiles_of_several_leaves(length: int, statistic: str) -> None:
    terms = terms_of(length, heads=2, groups=1, state=16, rate=0.02)
    for tiles, queries, keys in ((3, range(length), range(length)), (2, range(300, length), range(90, 2080))):
        found = pooled_attention(
            terms,
            tiles=tiles,
            queries=slice(queries.start, queries.stop),
            keys=slice(keys.start, keys.stop),
            statistic=statistic,
        )
        expected = pooled_from_the_whole(terms, tiles, queries, keys, statistic, False)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_single_tokens_are_the_entries_of_m() -> None:
    terms = terms_of(50)
    mean = pooled_attention(terms, tiles=50, heads=[2, 0])
    torch.testing.assert_close(mean, effective_attention(terms, heads=[2, 0]), rtol=1e-5, atol=1e-6)
    rms = pooled_attention(terms, tiles=999, statistic="rms")
    torch.testing.assert_close(rms, effective_attention(terms).abs(), rtol=1e-5, atol=1e-6)


def test_a_window_after_all_queries_is_empty() -> None:
    pooled = pooled_attention(terms_of(90), queries=slice(0, 30), keys=slice(40, 80), tiles=5)
    assert pooled.shape == (1, 4, 5, 5)
    assert not pooled.any()


@pytest.mark.parametrize("way", ["entry by entry", "separated"])
@pytest.mark.parametrize("statistic", ["mean", "rms"])
def test_positions_that_were_never_written_still_read(way: str, statistic: str) -> None:
    terms = terms_of(60)
    dt = terms.dt.clone()
    dt[:, ::3] = 0
    terms = SSDTerms.from_parts(x=terms.x, B=terms.B, C=terms.C, dt=dt, A=terms.A, D=terms.D)
    with limits_of(way):
        found = pooled_attention(terms, tiles=4, statistic=statistic, include_dt_scaling=True)
    expected = pooled_from_the_whole(terms, 4, range(60), range(60), statistic, True)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_half_precision_input() -> None:
    terms = terms_of(70)
    half = SSDTerms.from_parts(
        x=terms.x.bfloat16(),
        B=terms.B.bfloat16(),
        C=terms.C.bfloat16(),
        dt=terms.dt.bfloat16(),
        A=terms.A,
        D=terms.D,
    )
    expected = pooled_from_the_whole(half, 7, range(70), range(70), "rms", True)
    found = pooled_attention(half, tiles=7, statistic="rms", include_dt_scaling=True)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_edges() -> None:
    assert tile_edges(10, 4).tolist() == [0, 2, 5, 7, 10]
    assert tile_edges(3, 128).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="at least 1"):
        tile_edges(5, 0)


def test_bad_windows_heads_and_statistics_say_what_is_possible() -> None:
    terms = terms_of(20)
    with pytest.raises(ValueError, match=r"slice\(0, 20\)"):
        pooled_attention(terms, queries=slice(25, 30))
    with pytest.raises(ValueError, match="without a step"):
        pooled_attention(terms, keys=slice(0, 20, 2))
    with pytest.raises(IndexError, match="head 4"):
        pooled_attention(terms, heads=[4])
    with pytest.raises(ValueError, match="'mean' or 'rms'"):
        pooled_attention(terms, statistic="max")


def test_of_no_heads_nothing_is_pooled() -> None:
    assert pooled_attention(terms_of(20), heads=[], tiles=5).shape == (1, 0, 5, 5)
