from services.offerserver.core.picture_names import kept_images, picture_key, picture_path

URL = "https://things.example/ä.jpg"


def test_key_is_the_sha_256_of_the_url() -> None:
    assert picture_key("https://things.example/1.jpg") == (
        "60ac11f88955fee49e67f1e279c4b40ea213adf0f5878606eb6929d956d19f4f"
    )
    assert picture_path(URL) == f"/assets/images/{picture_key(URL)}"


def test_images_that_the_feed_names_are_kept_in_its_order() -> None:
    one, two, three = (picture_path(url) for url in ("1", "2", "3"))
    assert kept_images(["3", "1", "9"], [one, two, three]) == (three, one)
