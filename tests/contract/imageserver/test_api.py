"""The HTTP API: paths and responses of the old system, conditions, ranges, keys, credentials."""

import hashlib
import secrets

import httpx
import pytest

from tests.contract.imageserver.conftest import AddNumber
from tests.contract.imageserver.serving import PHONE, ImageServer, difference, encoded, jpeg, photo

SIZES = {"thumb": 250, "icon": 30, "iconbigger": 60}


def new_key() -> str:
    return secrets.token_hex(32)


def test_upload_by_form_responds_with_a_path_of_the_digest(server: ImageServer) -> None:
    content = jpeg(1)
    response = server.client.post("/assets/upload", files={"other": b"x", "file": ("evil.svg", content, "image/svg")})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text == f"/assets/images/{hashlib.sha256(content).hexdigest()}"


def test_upload_by_raw_body_is_the_same_as_by_form(server: ImageServer) -> None:
    content = jpeg(2)
    by_form = server.client.post("/assets/upload", files={"file": content})
    files = server.files()
    assert server.upload(content).text == by_form.text
    assert server.files() == files


@pytest.mark.parametrize(("size", "side"), SIZES.items())
def test_size_is_a_square_of_the_centre(server: ImageServer, size: str, side: int) -> None:
    path = server.path_of(jpeg(3, 400, 200))
    found = server.picture(f"{path}/{size}")
    assert found.size == (side, side)
    square = photo(3, 400, 200).crop((100, 0, 300, 200))
    assert difference(found, square) < 12


def test_small_picture_is_enlarged_in_its_sizes_and_kept_as_original(server: ImageServer) -> None:
    path = server.path_of(jpeg(4, 20, 10))
    assert server.picture(path).size == (20, 10)
    assert server.picture(f"{path}/thumb").size == (250, 250)


def test_large_picture_is_reduced_to_2560_pixels(server: ImageServer) -> None:
    assert server.picture(server.path_of(jpeg(5, 3000, 1500))).size == (2560, 1280)


def test_other_size_is_404(server: ImageServer) -> None:
    path = server.path_of(jpeg(6))
    assert server.reader.get(f"{path}/original").status_code == 200
    for size in ("large", "THUMB", "%2e%2e", "thumb/x"):
        assert server.reader.get(f"{path}/{size}").status_code == 404


def test_encoding_follows_accept(server: ImageServer) -> None:
    path = server.path_of(jpeg(7))
    browser = "image/avif,image/webp,image/apng,image/*,*/*;q=0.8"
    for accept, media_type in ((browser, "image/webp"), ("*/*", "image/jpeg"), ("image/webp;q=0", "image/jpeg")):
        response = server.reader.get(path, headers={"Accept": accept})
        assert response.headers["content-type"] == media_type
        assert response.headers["vary"] == "Accept"
    assert server.picture(path, "image/webp").format == "WEBP"


def test_transparent_picture_is_a_png(server: ImageServer) -> None:
    image = photo(8).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 160, 240))
    path = server.path_of(encoded(image, "PNG"))
    for accept, encoder in (("*/*", "PNG"), ("image/webp", "WEBP")):
        found = server.picture(path, accept)
        assert found.format == encoder
        assert found.convert("RGBA").getpixel((10, 10))[3] == 0  # type: ignore[index]
        assert found.convert("RGBA").getpixel((300, 10))[3] == 255  # type: ignore[index]


def test_headers_of_a_picture(server: ImageServer) -> None:
    response = server.reader.get(server.path_of(jpeg(9)))
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-disposition"] == "inline"
    assert response.headers["content-security-policy"] == "default-src 'none'"
    assert response.headers["etag"].startswith('"')


def test_key_of_a_caller_has_a_short_age(server: ImageServer) -> None:
    path = server.upload(jpeg(10), new_key()).text
    assert server.reader.get(path).headers["cache-control"] == "public, max-age=60, must-revalidate"


def test_known_entity_tag_is_304_without_a_body(server: ImageServer) -> None:
    path = server.path_of(jpeg(11))
    first = server.reader.get(path)
    for tags in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
        response = server.reader.get(path, headers={"If-None-Match": tags})
        assert response.status_code == 304
        assert response.content == b""
        assert response.headers["etag"] == first.headers["etag"]
        assert response.headers["cache-control"] == first.headers["cache-control"]
    assert server.reader.get(path, headers={"If-None-Match": '"x"'}).content == first.content
    assert server.reader.get(f"{path}/thumb").headers["etag"] != first.headers["etag"]


def test_head_has_the_headers_of_get(server: ImageServer) -> None:
    path = server.path_of(jpeg(12))
    head, get = server.reader.head(path), server.reader.get(path)
    assert head.content == b""
    assert {**head.headers} == {**get.headers}


def test_one_range_is_206(server: ImageServer) -> None:
    path = server.path_of(jpeg(13))
    whole = server.reader.get(path).content
    for header, part in (("bytes=0-9", whole[:10]), ("bytes=10-", whole[10:]), ("bytes=-7", whole[-7:])):
        response = server.reader.get(path, headers={"Range": header})
        assert response.status_code == 206
        assert response.content == part
    assert response.headers["content-range"] == f"bytes {len(whole) - 7}-{len(whole) - 1}/{len(whole)}"


def test_other_ranges_get_the_whole_picture_or_416(server: ImageServer) -> None:
    path = server.path_of(jpeg(14))
    etag = server.reader.get(path).headers["etag"]
    for header in ("bytes=0-1,4-5", "bytes=5-2", "lines=0-1"):
        assert server.reader.get(path, headers={"Range": header}).status_code == 200
    beyond = server.reader.get(path, headers={"Range": "bytes=99999999-"})
    assert beyond.status_code == 416
    assert beyond.headers["cache-control"] == "no-store"
    for tag, status in ((etag, 206), ('"x"', 200)):
        assert server.reader.get(path, headers={"Range": "bytes=0-1", "If-Range": tag}).status_code == status


def test_large_picture_arrives_whole(server: ImageServer) -> None:
    noise = photo(15, 1200, 900).convert("RGBA")
    noise.putpixel((0, 0), (0, 0, 0, 0))
    noise.paste(photo(16, 1200, 900).effect_spread(200), (1, 1))
    response = server.reader.get(server.path_of(encoded(noise, "PNG")))
    assert len(response.content) > 3 * 262_144
    assert len(response.content) == int(response.headers["content-length"])


def test_available_responds_with_the_path_or_404(server: ImageServer) -> None:
    key = new_key()
    assert server.reader.get(f"/asset/{key}/available").status_code == 404
    path = server.upload(jpeg(17), key).text
    response = server.reader.get(f"/asset/{key}/available")
    assert (response.status_code, response.text) == (200, path)


def test_first_upload_of_a_key_wins(server: ImageServer) -> None:
    key = new_key()
    first, second = jpeg(18), jpeg(19)
    before = server.metric("push_imageserver_uploads_total", outcome="key_taken")
    path = server.upload(first, key).text
    assert path == f"/assets/images/{key}"
    assert server.upload(second, key).text == path
    assert difference(server.picture(path), photo(18)) < 12
    assert server.metric("push_imageserver_uploads_total", outcome="key_taken") == before + 1


def test_id_of_published_bytes_is_no_key_for_others(server: ImageServer) -> None:
    path = server.path_of(jpeg(30))
    asset_id = path.rpartition("/")[2]
    assert server.upload(jpeg(31), asset_id).text == path
    assert difference(server.picture(path), photo(30)) < 12


def test_id_comes_before_a_key_of_the_same_digits(server: ImageServer) -> None:
    first, later = jpeg(32), jpeg(33)
    digits = hashlib.sha256(later).hexdigest()
    path = server.upload(first, digits).text
    assert difference(server.picture(path), photo(32)) < 12
    assert server.path_of(later) == path
    assert difference(server.picture(path), photo(33)) < 12
    assert "immutable" in server.reader.get(path).headers["cache-control"]


def test_several_keys_name_equal_bytes(server: ImageServer) -> None:
    content, keys = jpeg(20), [new_key(), new_key()]
    files = len(server.files())
    for key in keys:
        assert server.upload(content, key).status_code == 200
    assert len(server.files()) == files + 8
    bodies = {
        server.reader.get(f"/assets/images/{key}").content for key in (*keys, hashlib.sha256(content).hexdigest())
    }
    assert len(bodies) == 1


def test_number_of_the_old_system_names_a_picture(server: ImageServer, add_number: AddNumber) -> None:
    add_number(server.path_of(jpeg(21)).rpartition("/")[2], "4711")
    assert server.reader.get("/assets/images/4711/icon").status_code == 200
    assert server.reader.get("/asset/4711/available").text == "/assets/images/4711"


def test_malformed_key_is_refused(server: ImageServer) -> None:
    for key in ("xyz", "4711", "1" * 63):
        response = server.upload(jpeg(22), key)
        assert (response.status_code, response.json()["error"]) == (422, "invalid_key")
    assert server.reader.get("/assets/images/xyz").status_code == 404


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/assets/images/{}"), ("POST", "/asset/{}/delete")])
def test_deleted_picture_is_gone_and_can_be_uploaded_again(server: ImageServer, method: str, path: str) -> None:
    content, key = jpeg(23), new_key()
    by_key = server.upload(content, key).text
    old_tag = server.reader.get(by_key).headers["etag"]
    assert server.client.request(method, path.format(key)).status_code == 204
    for name in (key, hashlib.sha256(content).hexdigest()):
        assert server.reader.get(f"/assets/images/{name}").status_code == 404
    assert server.client.request(method, path.format(key)).status_code == 404
    assert server.upload(content, key).text == by_key
    assert server.reader.get(by_key, headers={"If-None-Match": old_tag}).status_code == 200


def test_old_get_of_a_deletion_is_405(server: ImageServer) -> None:
    response = server.reader.get(f"/asset/{new_key()}/delete")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert "POST" in response.json()["detail"]


def test_changes_need_credentials(server: ImageServer) -> None:
    requests = [("POST", "/assets/upload"), ("POST", f"/assets/upload_with_sha/{new_key()}")]
    requests += [("DELETE", f"/assets/images/{new_key()}"), ("POST", "/asset/1/delete")]
    for method, path in requests:
        response = server.reader.request(method, path, content=jpeg(24))
        assert response.status_code == 401
        assert response.headers["cache-control"] == "no-store"


def test_phones_upload_and_nothing_else(server: ImageServer) -> None:
    with httpx.Client(base_url=server.url, auth=PHONE) as phone:
        path = phone.post("/assets/upload", files={"file": jpeg(25)}).text
        assert phone.get(path).status_code == 200
        assert phone.delete(path).status_code == 403
        assert phone.post(f"/assets/upload_with_sha/{new_key()}", content=jpeg(25)).status_code == 403


def test_errors_are_not_stored(server: ImageServer) -> None:
    for response in (server.reader.get(f"/assets/images/{new_key()}"), server.upload(b"no picture")):
        assert response.status_code in (404, 415)
        assert response.headers["cache-control"] == "no-store"
        assert response.json().keys() == {"error", "detail"}


def test_form_without_a_file_is_refused(server: ImageServer) -> None:
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    assert server.client.post("/assets/upload", files={"picture": jpeg(26)}).json()["error"] == "no_file"
    for headers, content in ((multipart, b"nonsense"), ({"Content-Type": "multipart/form-data"}, b"--x")):
        response = server.client.post("/assets/upload", content=content, headers=headers)
        assert (response.status_code, response.json()["error"]) == (422, "no_file")
