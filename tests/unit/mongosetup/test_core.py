from services.mongosetup.core import Initiate, MemberState, Ready, Wait, next_step

ALL = frozenset({"m0:1", "m1:1", "m2:1"})


def empty(address: str) -> MemberState:
    return MemberState(address=address)


def silent(address: str) -> MemberState:
    return MemberState(address=address, error="refused")


def member(address: str, *, primary: bool = False, configured: frozenset[str] = ALL) -> MemberState:
    return MemberState(address=address, replica_set="rs0", configured=configured, is_primary=primary)


def test_set_is_created_when_all_members_are_empty() -> None:
    assert next_step([empty("m0:1"), empty("m1:1"), empty("m2:1")]) == Initiate()


def test_set_is_not_created_while_a_member_is_silent() -> None:
    assert next_step([empty("m0:1"), silent("m1:1")]) == Wait("m1:1 does not respond (refused)")


def test_set_is_not_created_again_when_a_member_has_lost_its_data() -> None:
    assert next_step([empty("m0:1"), member("m1:1"), member("m2:1")]) == Wait("there is no primary")
    assert next_step([empty("m0:1"), member("m1:1", primary=True), member("m2:1")]) == Ready(())


def test_set_is_ready_while_a_member_is_silent() -> None:
    assert next_step([silent("m0:1"), member("m1:1", primary=True), member("m2:1")]) == Ready(())


def test_wait_names_silent_members_when_there_is_no_primary() -> None:
    found = next_step([member("m0:1"), silent("m1:1"), silent("m2:1")])
    assert found == Wait("there is no primary; m1:1 does not respond (refused); m2:1 does not respond (refused)")


def test_member_of_another_set_is_not_touched() -> None:
    other = MemberState(address="m1:1", replica_set="rs1", is_primary=True)
    assert next_step([empty("m0:1"), other]) == Wait("m1:1 belongs to the replica set rs1, expected rs0")


def test_differences_between_the_set_and_the_settings_are_named() -> None:
    found = next_step([member("m0:1", primary=True, configured=frozenset({"m0:1", "m9:1"})), empty("m1:1")])
    assert found == Ready(("m1:1 is not a member", "m9:1 is a member, but not in the settings"))
