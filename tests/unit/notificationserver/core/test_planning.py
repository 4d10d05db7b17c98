from services.notificationserver.core.notifications import ChatNotice, Notification, TextNotice
from services.notificationserver.core.planning import groups_of


def chat(name: str, members: int) -> Notification:
    return Notification(name, 1, ChatNotice("c", "url", "sender", tuple(f"user{n}" for n in range(members)), "Hi"))


def test_groups_have_at_most_so_many_recipients() -> None:
    texts = [Notification(f"t{number}", 1, TextNotice("device", "Hi")) for number in range(5)]
    sizes = [[each.id for each in group] for group in groups_of([*texts, chat("small", 2), chat("large", 9)], most=4)]
    assert sizes == [["t0", "t1"], ["t2", "t3"], ["t4", "small"], ["large"]]
    assert list(groups_of([], most=4)) == []
