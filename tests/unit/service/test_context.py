from __future__ import annotations

import time

import tiffin
from tiffin.service.context import CallInfo


def test_it_speaks_for_its_first_call_and_knows_all():
    calls = (CallInfo("a", 2, {"tenant": "x"}), CallInfo("b"))
    context = tiffin.Context(calls, deadline=0.0)
    assert (context.request_id, context.attempt, context.meta) == ("a", 2, {"tenant": "x"})
    assert [call.request_id for call in context.calls] == ["a", "b"]


def test_time_that_is_left_is_never_negative(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    assert tiffin.Context((CallInfo("a"),), deadline=102.5).remaining_s() == 2.5
    assert tiffin.Context((CallInfo("a"),), deadline=99.0).remaining_s() == 0.0
