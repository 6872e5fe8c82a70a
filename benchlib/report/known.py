"""What a suite alone decides (labels, references, controls), worked out once for each suite. Layer 4.

Tables, plots and page ask for it with every run, image and cell: with hundreds of runs, most of
their time went into answering again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from weakref import finalize

if TYPE_CHECKING:
    from benchlib.params import Suite

P = ParamSpec("P")
T = TypeVar("T")
_ANSWERS: dict[int, dict[tuple[Any, ...], Any]] = {}  # of each suite that is still in use, by id


def once(ask: Callable[Concatenate[Suite, P], T]) -> Callable[Concatenate[Suite, P], T]:
    """``ask(suite, name, ...)``, worked out once for each suite object and names.

    A suite is frozen, so that one with other entries is another object. The answer is shared: who
    gets it only reads it. An error is not kept.
    """

    @wraps(ask)
    def answer(suite: Suite, *names: P.args, **named: P.kwargs) -> T:
        answers = _answers(suite)
        key = (ask, names, *named.items())
        if key not in answers:
            answers[key] = ask(suite, *names, **named)
        return answers[key]

    return answer


def latest(ask: Callable[Concatenate[Suite, P], T]) -> Callable[Concatenate[Suite, P], T]:
    """``once``, of which a suite keeps the last answer alone: for answers that are large."""

    @wraps(ask)
    def answer(suite: Suite, *names: P.args, **named: P.kwargs) -> T:
        answers = _answers(suite)
        key = (names, *named.items())
        kept, found = answers.get((ask,), (None, None))
        if kept != key:
            found = ask(suite, *names, **named)
            answers[(ask,)] = key, found
        return found

    return answer


def _answers(suite: Suite) -> dict[tuple[Any, ...], Any]:
    """The answers of one suite, dropped with it."""
    if id(suite) not in _ANSWERS:
        _ANSWERS[id(suite)] = {}
        finalize(suite, _ANSWERS.pop, id(suite), None)
    return _ANSWERS[id(suite)]
