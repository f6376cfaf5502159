from __future__ import annotations

from typing import get_args

import pytest

from dmoa.core.effects import FailureCode, Refusal, Trace
from dmoa.core.job import Fault, FaultCode, Turn
from dmoa.core.mixture import ALONE
from dmoa.core.names import NodeId, QueryId
from dmoa.errors import (
    BackendError,
    BackendRefusedError,
    BackendRubbishError,
    BackendTimeoutError,
    BackendUnavailableError,
    ContextLengthError,
    DmoaError,
    ExpiredError,
    OverloadedError,
    UsageError,
)
from dmoa.runtime.faults import conversation, error_of, fault_of

TRACE = Trace(QueryId("a/1/1"), NodeId("a"), ALONE, (), ("failed: a in the aggregation",), 1.0)

ERRORS: dict[FailureCode, type[DmoaError]] = {
    "overloaded": OverloadedError,
    "expired": ExpiredError,
    "unavailable": BackendUnavailableError,
    "refused": BackendRefusedError,
    "too_long": ContextLengthError,
    "backend": BackendError,
}

FAULTS: dict[type[BackendError], FaultCode] = {
    BackendError: "rubbish",
    BackendUnavailableError: "unavailable",
    BackendRefusedError: "refused",
    ContextLengthError: "too_long",
    BackendRubbishError: "rubbish",
    BackendTimeoutError: "timeout",
}


def _family(root: type[BackendError]) -> set[type[BackendError]]:
    own = {kind for kind in root.__subclasses__() if kind.__module__ == "dmoa.errors"}
    return {root}.union(*(_family(kind) for kind in own))


def test_every_family_of_backend_errors_has_its_fault() -> None:
    assert set(FAULTS) == _family(BackendError)
    assert {*FAULTS.values(), "stopped"} == set(get_args(FaultCode))
    for family, code in FAULTS.items():
        assert fault_of(family("why")) == Fault(code, "why")


def test_a_stranger_in_a_family_has_the_fault_of_the_family() -> None:
    class StolenError(BackendUnavailableError):
        pass

    class OddError(BackendError):
        pass

    assert fault_of(StolenError("gone")).code == "unavailable"
    assert fault_of(OddError("odd")).code == "rubbish"


def test_a_prompt_too_long_keeps_its_counts() -> None:
    error = ContextLengthError("long", prompt_tokens=5000, context_tokens=4096)
    assert fault_of(error) == Fault("too_long", "long", 5000, 4096)


def test_every_refusal_has_its_error() -> None:
    assert set(ERRORS) == set(get_args(FailureCode))
    for code, kind in ERRORS.items():
        error = error_of(Refusal(code, "why", TRACE, retry_after=3.0))
        assert type(error) is kind
        assert error.message == "why"
        assert error.trace is TRACE


@pytest.mark.parametrize("code", ["overloaded", "expired", "too_long"])
def test_what_a_user_can_do_about_it_is_said(code: FailureCode) -> None:
    assert error_of(Refusal(code, "why", TRACE, retry_after=3.0)).hint


@pytest.mark.parametrize(("given", "told"), [(7.0, 7.0), (None, 1.0)])
def test_an_overload_tells_when_to_come_back(given: float | None, told: float) -> None:
    error = error_of(Refusal("overloaded", "full", TRACE, retry_after=given))
    assert isinstance(error, OverloadedError)
    assert error.retry_after == told


def test_half_a_character_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(UsageError, match="half a character"):
        conversation("a\ud800")


def test_a_turn_of_nobody_in_a_chat_is_refused() -> None:
    with pytest.raises(UsageError, match="critic"):
        conversation([Turn("critic", "no")])


def test_a_prompt_becomes_the_turn_of_a_user() -> None:
    assert conversation("why?") == (Turn("user", "why?"),)
