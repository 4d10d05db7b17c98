from services.consumers.handlers import HANDLERS


def test_every_consumer_has_a_description_with_its_name() -> None:
    assert sorted(HANDLERS) == ["event_counter", "metadata_counter", "search_counter", "timing_stats"]
    for name, handler in HANDLERS.items():
        assert handler.description.name == name
        assert handler.description.description
        assert handler.description.column_title
        assert handler.description.legend
