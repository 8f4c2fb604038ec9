"""What rows do while the audit cannot follow is known at the step at which it cannot."""

from __future__ import annotations

import time

import pytest

from guardsteer.audit import health as health_module
from guardsteer.audit.health import Health
from guardsteer.runtime.auditing import Blackout


def test_one_stream_of_several_that_fails_is_enough_and_only_where_that_matters() -> None:
    sound, ailing = Health("sound"), Health("ailing")
    assert not Blackout([sound, ailing], "closed").active()
    ailing.fail("the disk is full")
    assert Blackout([sound, ailing], "closed").active()
    assert not Blackout([sound], "closed").active()
    assert not Blackout([sound, ailing], "open").active()
    ailing.recover()
    assert not Blackout([sound, ailing], "closed").active()


def test_a_commit_that_hangs_is_noticed_by_whoever_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "STUCK_S", 60.0)
    health = Health("slow")
    blackout = Blackout([health], "halt")
    health.committing_since_s = time.monotonic()
    assert not blackout.active()
    health.committing_since_s -= 61.0
    assert blackout.active()
    assert (health.failed, "longer than 60 s" in health.failure) == (True, True)


def test_what_was_made_anew_behind_a_fork_is_followed_by_who_follows_it() -> None:
    health = Health("parent")
    blackout = Blackout([health], "closed")
    health.lose("the queue is full", 3)
    health.committing_since_s = 1.0
    assert blackout.active()
    health.renew()
    assert not blackout.active()
    assert (health.failure, health.dropped, health.unrecorded, health.take_unreported()) == ("", 0, 0, 0)
