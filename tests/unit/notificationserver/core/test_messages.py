from urllib.parse import parse_qs

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.notificationserver.core.callbacks import callback_body
from services.notificationserver.core.deliveries import Delivery, deliveries_of
from services.notificationserver.core.mappings import ChannelTarget
from services.notificationserver.core.messages import Message, compose, merge
from services.notificationserver.core.notifications import ChatNotice, MatchedObject, MatchNotice, Notification
from services.notificationserver.core.one_signal import one_signal_body
from services.notificationserver.core.web_push import MOST_PAYLOAD_BYTES, payload_of

OFFER = MatchedObject("o1", "device-of-the-offer", "Bread", 52.5, 13.4, 500)
SEARCH = MatchedObject("s1", "device-of-the-search", "Bakery", 52.6, 13.5, 700)


def message(side: str, offer: MatchedObject = OFFER, search: MatchedObject = SEARCH) -> Message:
    notification = Notification("s1.o1.1", 1_000, MatchNotice(offer, search))
    own = offer if side == "offer" else search
    return compose(notification, side, own.device_id, "en")


def delivery(composed: Message) -> Delivery:
    return deliveries_of(composed, [ChannelTarget("onesignal", "provider:443")])[0]


def sent_bytes(composed: Message) -> list[bytes]:
    """Return what each channel sends."""
    one_signal = one_signal_body(composed, app_id="app", player_id="player", delivery=delivery(composed), now_ms=2_000)
    push = payload_of(
        message_id=composed.id, title=composed.title, body=composed.body, url=composed.url, data=composed.data
    )
    return [callback_body(composed), one_signal, push, msgspec.json.encode(composed)]


def test_each_side_gets_its_own_link_and_the_title_of_the_other() -> None:
    offer, search = message("offer"), message("search")
    assert (offer.id, offer.url) == ("s1.o1.1.offer", "pushtech://offer/o1/s1/matched")
    assert (search.id, search.url) == ("s1.o1.1.search", "pushtech://search/s1/o1/matched")
    assert (offer.body, search.body) == ('"Bakery"', '"Bread"')
    assert offer.window != search.window
    assert offer.topic != search.topic


def test_no_channel_sends_the_device_of_the_other_side() -> None:
    for sent in sent_bytes(message("offer")):
        assert b"device-of-the-search" not in sent
    for sent in sent_bytes(message("search")):
        assert b"device-of-the-offer" not in sent


def test_callback_is_a_form_with_the_fields_of_the_old_system() -> None:
    form = {name: values[0] for name, values in parse_qs(callback_body(message("offer")).decode()).items()}
    assert form["data[message_id]"] == "s1.o1.1.offer"
    assert form["params[key]"] == "offer_matched_search"
    assert form["params[search][table][title]"] == "Bakery"
    assert form["params[search][table][lat]"] == "52.6"
    assert form["params[offer][table][device_id]"] == "device-of-the-offer"
    assert "params[search][table][device_id]" not in form
    assert {"url", "msg", "locale", "title", "data[search_id]", "data[offer_title]"} <= form.keys()


def test_retry_and_later_encounter_of_a_pair_have_one_topic() -> None:
    later = compose(Notification("s1.o1.2", 9_000, MatchNotice(OFFER, SEARCH)), "offer", OFFER.device_id, "de")
    assert later.topic == message("offer").topic
    assert later.id != message("offer").id


def test_untitled_object_has_a_text() -> None:
    assert message("offer", search=msgspec.structs.replace(SEARCH, title="")).body == '"No title"'


@given(st.text(max_size=5_000), st.text(min_size=1, max_size=60))
def test_push_message_fits_whatever_the_title_is(title: str, name: str) -> None:
    composed = message("offer", search=msgspec.structs.replace(SEARCH, title=title, id=name))
    push = sent_bytes(composed)[2]
    assert len(push) <= MOST_PAYLOAD_BYTES
    assert msgspec.json.decode(push)["id"] == composed.id


def test_merged_message_names_the_first_five() -> None:
    parts = [message("offer", search=msgspec.structs.replace(SEARCH, title=f"Bakery {n}")) for n in range(7)]
    merged = merge(parts, "merged.1", "en", now_ms=5_000)
    assert merged.title == "7 messages during your quiet hours"
    assert merged.body.splitlines()[0] == 'Search found: "Bakery 0"'
    assert merged.body.splitlines()[-1] == "and 2 more"
    assert len(merged.body.splitlines()) == 6


def test_repeated_request_to_one_signal_has_one_key() -> None:
    first, again, other = (
        msgspec.json.decode(
            one_signal_body(composed, app_id="app", player_id="player", delivery=delivery(composed), now_ms=now_ms)
        )
        for composed, now_ms in ((message("offer"), 1_000), (message("offer"), 2_000), (message("search"), 1_000))
    )
    assert first["idempotency_key"] == again["idempotency_key"] != other["idempotency_key"]
    assert first["headings"] == {"en": "Search found"}


def test_chat_link_is_quoted() -> None:
    notice = ChatNotice("a/b ü", "url?x", "anna", ("anna", "ben"), "Hi")
    composed = compose(Notification("chat.1", 1, notice), "x", "d1", "de")
    assert composed.url == "pushtech://chat/a%2Fb%20%C3%BC/open/url%3Fx"
    assert composed.title == "Nachricht: a/b ü"


def test_pairs_with_colons_and_spaces_in_their_ids_have_their_own_window_and_topic() -> None:
    def of(search: str, offer: str) -> Message:
        return message(
            "offer",
            search=msgspec.structs.replace(SEARCH, id=search),
            offer=msgspec.structs.replace(OFFER, id=offer),
        )

    pairs = [of("a", "b:c"), of("a:b", "c"), of("a b", "c"), of("a", "b c")]
    assert len({each.window for each in pairs}) == len({each.topic for each in pairs}) == 4
