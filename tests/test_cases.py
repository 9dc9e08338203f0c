"""``each`` tries all cases, tells which failed, and passes only where none did."""

from __future__ import annotations

import pytest
from support.cases import each


@each("at_once", [False, True])
def test_every_case_that_fails_is_told(at_once: bool) -> None:
    """One that fails, one that raises something else, one where nothing was raised; the rest was tried all the same."""
    tried: list[str] = []

    @each(("name", "value"), [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 1)], at_once=at_once)
    def a_test(name: str, value: int) -> None:
        tried.append(name)
        assert value != 2
        if value == 3:
            raise KeyError(name)
        if value == 4:
            with pytest.raises(ValueError, match="x"):
                tried.append("")

    with pytest.raises(AssertionError) as told:
        a_test()
    assert sorted(tried) == ["", "a", "b", "c", "d", "e"]
    first, *rest = str(told.value).splitlines()
    assert first == "3 of 5 cases failed:"
    named = [line for line in rest if line.startswith("'")]
    assert [line.partition(": ")[0] for line in named] == ["'b', 2", "'c', 3", "'d', 4"]
    assert isinstance(told.value.__cause__, AssertionError)


def test_no_case_is_no_test() -> None:
    """An empty list would prove nothing."""
    with pytest.raises(AssertionError, match="no case"):
        each("value", [])
