from hypothesis import given
from hypothesis import strategies as st

from explorer.cache_by_bytes import CacheByBytes


def test_the_least_recently_used_go_first() -> None:
    held: CacheByBytes[str] = CacheByBytes(10)
    held.put(("a",), "A", 4)
    held.put(("b",), "B", 4)
    assert held.get(("a",)) == "A"
    held.put(("c",), "C", 4)
    assert (held.get(("a",)), held.get(("b",)), held.get(("c",))) == ("A", None, "C")
    held.put(("a",), "smaller", 1)
    assert held.nbytes == 5


def test_one_that_is_too_large_is_held_alone() -> None:
    held: CacheByBytes[str] = CacheByBytes(10)
    held.put(("a",), "A", 4)
    held.put(("b",), "B", 40)
    assert (held.get(("a",)), held.get(("b",)), held.nbytes) == (None, "B", 40)
    held.put(("c",), "C", 4)
    assert (held.get(("b",)), held.nbytes) == (None, 4)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8))))
def test_no_more_is_held_than_there_is_room(puts: list[tuple[int, int]]) -> None:
    held: CacheByBytes[int] = CacheByBytes(10)
    for key, nbytes in puts:
        held.put((key,), nbytes, nbytes)
        assert held.nbytes <= 10
        assert held.get((key,)) == nbytes


def test_all_of_something_can_be_forgotten() -> None:
    held: CacheByBytes[str] = CacheByBytes(10)
    for key in (("text", 0), ("text", 1), ("other", 0)):
        held.put(key, "value", 1)
    held.forget("text")
    assert [held.get(key) for key in (("text", 0), ("text", 1), ("other", 0))] == [None, None, "value"]
    assert held.nbytes == 1
