"""One test for many cases that share nothing: each as a test of its own would cost more than what it proves.

@each("value", ["", "\\n", None])
def test_a_value_that_is_none(value): ...

All cases are tried, whatever fails. Each that fails is a failed subtest of pytest's own, with its values and traceback;
one that passes costs nothing. A test that needs a fresh fixture for each case is for ``pytest.mark.parametrize``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

Test = Callable[..., None]


def each(
    names: str | Sequence[str], cases: Iterable[Any], *, ids: Any = None, at_once: bool = False
) -> Callable[[Test], Test]:
    """Parametrize a test as ``pytest.mark.parametrize`` does, without marks.

    :param ids: what a failure calls the cases: their names, or a function of each value.
    :param at_once: each in a thread of its own, for those that spend their time waiting.
    """
    keys = names.replace(",", " ").split() if isinstance(names, str) else list(names)
    known = [_values(case, len(keys)) for case in cases]
    assert known, "no case, no test"
    labels = list(ids) if ids and not callable(ids) else [_label(values, ids or _short) for values in known]

    def decorate(test: Test) -> Test:
        signature = inspect.signature(test)
        assert set(keys) <= set(signature.parameters), keys
        takes_subtests = "subtests" in signature.parameters  # another ``each`` below this one

        @functools.wraps(test)
        def all_cases(*self: Any, subtests: pytest.Subtests, **fixtures: Any) -> None:
            if takes_subtests:
                fixtures["subtests"] = subtests

            def error(values: tuple[Any, ...]) -> BaseException | None:
                return _error(test, self, fixtures | dict(zip(keys, values, strict=True)))

            with ThreadPoolExecutor(len(known) if at_once else 1) as pool:
                errors = pool.map(error, known) if at_once else map(error, known)
                for label, failure in zip(labels, errors, strict=True):
                    if failure is not None:
                        with subtests.test(label):
                            raise failure

        rest = [parameter for name, parameter in signature.parameters.items() if name not in keys]
        if not takes_subtests:
            rest.append(inspect.Parameter("subtests", inspect.Parameter.KEYWORD_ONLY))
        all_cases.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        return all_cases

    return decorate


def _error(test: Test, self: tuple[Any, ...], arguments: dict[str, Any]) -> BaseException | None:
    try:
        test(*self, **arguments)
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - reported as a subtest
        return error
    return None


def _values(case: Any, count: int) -> tuple[Any, ...]:
    if hasattr(case, "marks"):  # pytest.param(...)
        assert not case.marks, case
        return tuple(case.values)
    return (case,) if count == 1 else tuple(case)


def _label(values: tuple[Any, ...], name: Callable[[Any], Any]) -> str:
    return ", ".join(str(name(value)) for value in values)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
