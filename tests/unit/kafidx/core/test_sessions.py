from services.kafidx.core.sessions import Sessions


def test_the_sessions_used_longest_ago_are_forgotten() -> None:
    sessions = Sessions(limit=2)
    sessions.remember("a", "events", {0: 1})
    sessions.remember("b", "events", {0: 2})
    sessions.remember("a", "events", {0: 3})
    sessions.remember("c", "events", {0: 4})
    assert [sessions.recall(name, "events") for name in "abc"] == [{0: 3}, None, {0: 4}]
    sessions.discard("a", "events")
    sessions.discard("never", "events")
    assert sessions.recall("a", "events") is None


def test_a_session_has_a_place_in_each_topic() -> None:
    sessions = Sessions()
    sessions.remember("a", "events", {0: 1})
    assert sessions.recall("a", "events.dead") is None
    sessions.discard("a", "events.dead")
    assert sessions.recall("a", "events") == {0: 1}
