"""``each`` tries all cases, reports each that failed as a subtest, and passes only where none did."""

from __future__ import annotations

import pytest
from support.cases import each

CASES = """
import pytest
from support.cases import each

tried = []


@each(("name", "value"), [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 1)], at_once={at_once})
def test_it(name, value):
    tried.append(name)
    assert value != 2
    if value == 3:
        raise KeyError(name)
    if value == 4:
        with pytest.raises(ValueError, match="x"):
            tried.append("")


def test_all_were_tried():
    assert sorted(tried) == ["", "a", "b", "c", "d", "e"]
"""


@pytest.mark.parametrize("at_once", [False, True])
def test_every_case_that_fails_is_told(pytester: pytest.Pytester, at_once: bool) -> None:
    """One that fails, one that raises something else, one where nothing was raised; the rest was tried all the same."""
    pytester.makepyfile(CASES.format(at_once=at_once))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.stdout.fnmatch_lines(["SUBFAILED*'b', 2*", "SUBFAILED*'c', 3*", "SUBFAILED*'d', 4*", "FAILED*test_it*"])
    result.stdout.no_fnmatch_line("*'e', 1*")
    result.assert_outcomes(passed=1, failed=4)


STACKED = """
from support.cases import each

@each("first", [1, 2])
@each("second", [3, 4])
def test_it(first, second):
    assert (first, second) != (2, 3)
"""


def test_one_above_another(pytester: pytest.Pytester) -> None:
    """Two of them try every pair, and name the one that failed."""
    pytester.makepyfile(STACKED)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.stdout.fnmatch_lines(["SUBFAILED*3*", "FAILED*test_it*"])
    result.assert_outcomes(failed=2)


def test_no_case_is_no_test() -> None:
    """An empty list would prove nothing."""
    with pytest.raises(AssertionError, match="no case"):
        each("value", [])
