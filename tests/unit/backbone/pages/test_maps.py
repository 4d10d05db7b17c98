import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.pages.gazetteer import distance_m
from services.backbone.pages.maps import (
    CLUSTER_PX,
    MOST_ZOOM,
    Extent,
    Frame,
    Label,
    Rectangle,
    cluster,
    distance_text,
    fit,
    fitting_labels,
    grid,
    project,
    round_distance,
    unproject,
)

SIZES = ((720, 460), (360, 300))
latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)
extents = st.builds(Extent, latitudes, longitudes, st.floats(0, 50_000))
pixels = st.tuples(st.floats(0, 720), st.floats(0, 460))
frames = st.builds(Frame, st.just(720), st.just(460), st.floats(-80, 80), longitudes, st.floats(1, 16))
BERLIN = Frame(720, 460, 52.52, 13.405, 12.0)


@given(st.floats(-85, 85), st.floats(-179.9, 179.9))
def test_unproject_is_the_inverse_of_project(latitude: float, longitude: float) -> None:
    assert unproject(*project(latitude, longitude)) == pytest.approx((latitude, longitude), abs=1e-9)


@given(latitudes, longitudes)
def test_every_point_is_in_the_square(latitude: float, longitude: float) -> None:
    x, y = project(latitude, longitude)
    assert 0 <= x < 1
    assert -1e-9 <= y <= 1 + 1e-9


@given(frames, pixels)
def test_position_is_the_inverse_of_pixel(frame: Frame, pixel: tuple[float, float]) -> None:
    x, y = pixel
    _, centre_y = project(frame.latitude, frame.longitude)
    # Only pixels that show a part of the world, once.
    if abs(x - 360) < frame.world_px / 2 - 1 and 0.001 < centre_y + (y - 230) / frame.world_px < 0.999:
        assert frame.pixel(*frame.position(x, y)) == pytest.approx(pixel, abs=1e-4)


@given(st.lists(extents, max_size=12), st.sampled_from(SIZES))
def test_fitted_frame_shows_all_shapes(shapes: list[Extent], size: tuple[int, int]) -> None:
    width, height = size
    frame = fit(shapes, width=width, height=height)
    assert frame.zoom <= MOST_ZOOM
    for shape in shapes:
        x, y = frame.pixel(shape.latitude, shape.longitude)
        radius = frame.radius_px(shape)
        assert x - radius >= 31, (frame, shape)
        assert x + radius <= width - 31, (frame, shape)
        assert 31 <= y <= height - 31, (frame, shape)
        if abs(shape.latitude) < 80:
            assert 31 <= y - radius <= y + radius <= height - 31


def test_fitted_frame_is_the_largest() -> None:
    frame = fit([Extent(52.5, 13.4, 3000.0)], width=720, height=460, padding=30)
    assert frame.radius_px(Extent(52.5, 13.4, 3000.0)) == pytest.approx(200)
    assert (frame.latitude, frame.longitude) == pytest.approx((52.5, 13.4), abs=1e-4)


def test_shapes_on_both_sides_of_the_antimeridian_are_side_by_side() -> None:
    frame = fit([Extent(-17, 179), Extent(-18, -179)], width=720, height=460)
    (west, _), (east, _) = frame.pixel(-17, 179), frame.pixel(-18, -179)
    assert (west, east) == pytest.approx((32, 688), abs=0.01)
    box = frame.box()
    assert box.west > 170
    assert box.east < -170


@given(latitudes, longitudes)
def test_point_alone_is_in_the_centre_at_the_largest_zoom(latitude: float, longitude: float) -> None:
    frame = fit([Extent(latitude, longitude)], width=360, height=300)
    assert frame.zoom == MOST_ZOOM
    assert frame.pixel(latitude, longitude) == pytest.approx((180, 150), abs=0.01)


def test_frame_without_shapes_shows_the_world() -> None:
    frame = fit([], width=360, height=300)
    assert frame.world_px == pytest.approx(300 - 64)
    assert frame.box() == pytest.approx((-85.05, -180, 85.05, 180), abs=0.01)


@pytest.mark.parametrize(
    ("least", "rounded"), [(0.3, 0.5), (1, 1), (1.01, 2), (2.0, 2), (499, 500), (501, 1000), (1000, 1000), (7e5, 1e6)]
)
def test_round_distance_is_the_next_of_the_series(least: float, rounded: float) -> None:
    assert round_distance(least) == pytest.approx(rounded)


@given(st.builds(Frame, st.just(720), st.just(460), st.floats(-80, 80), longitudes, st.floats(6, 16)))
def test_scale_bar_is_true_within_one_percent(frame: Frame) -> None:
    lines = grid(frame)
    begin, end = frame.position(360 - lines.step_px / 2, 230), frame.position(360 + lines.step_px / 2, 230)
    assert distance_m(*begin, *end) == pytest.approx(lines.step_m, rel=0.01)
    assert 64 <= lines.step_px < 64 * 2.5 + 0.01
    digits = lines.step_m / 10 ** math.floor(math.log10(lines.step_m) + 1e-9)
    assert round(digits, 6) in {1, 2, 5}


@given(frames)
def test_grid_covers_the_frame_and_one_more_on_each_side(frame: Frame) -> None:
    lines = grid(frame)
    for positions, size in ((lines.columns, 720), (lines.rows, 460)):
        assert all(b - a == pytest.approx(lines.step_px) for a, b in itertools.pairwise(positions))
        assert -size <= positions[0] < -size + lines.step_px + 1e-6
        assert 2 * size >= positions[-1] > 2 * size - lines.step_px - 1e-6


def test_grid_stays_on_the_ground_when_the_frame_moves_to_the_east() -> None:
    moved = Frame(720, 460, 52.52, 13.45, 12.0)
    first, second = grid(BERLIN).columns[5], grid(moved).columns[5]
    shift = BERLIN.pixel(52.52, 13.405)[0] - moved.pixel(52.52, 13.405)[0]
    assert math.remainder(first - shift - second, grid(BERLIN).step_px) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("metres", "text"), [(0.5, "0.5 m"), (500, "500 m"), (1000, "1 km"), (2000, "2 km"), (5e6, "5000 km")]
)
def test_distance_text_has_a_fitting_unit(metres: float, text: str) -> None:
    assert distance_text(metres) == text


@given(
    st.lists(st.tuples(st.text(max_size=20), st.floats(52.4, 52.65), st.floats(13.1, 13.7)), max_size=60),
    st.lists(pixels, max_size=10),
)
def test_labels_overlap_nothing_and_are_inside(
    named: list[tuple[str, float, float]], markers: list[tuple[float, float]]
) -> None:
    obstacles = [Rectangle(x - 15, y - 15, x + 15, y + 15) for x, y in markers]
    areas = [label.rectangle for label in fitting_labels(BERLIN, named, obstacles=obstacles)]
    for area in areas:
        assert 0 <= area.left <= area.right <= 720
        assert 0 <= area.top <= area.bottom <= 460
        assert not any(area.overlaps(obstacle) for obstacle in obstacles)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(areas, 2) if a != b)


def test_important_label_wins() -> None:
    named = [("Berlin", 52.52, 13.405), ("Mitte", 52.52, 13.41), ("Köpenick", 52.48, 13.5)]
    assert [label.text for label in fitting_labels(BERLIN, named)] == ["Berlin", "Köpenick"]


def test_wide_characters_count_twice() -> None:
    narrow, wide = Label("ab", 0, 0).rectangle, Label("東京", 0, 0).rectangle
    assert wide.right - narrow.right == narrow.right - Label("", 0, 0).rectangle.right


@given(st.lists(pixels, max_size=80))
def test_positions_of_clusters_do_not_touch_and_no_point_is_lost(points: list[tuple[float, float]]) -> None:
    clusters = cluster(points)
    assert sorted(itertools.chain.from_iterable(clusters)) == list(range(len(points)))
    for first, second in itertools.combinations([points[members[0]] for members in clusters], 2):
        assert max(abs(first[0] - second[0]), abs(first[1] - second[1])) >= CLUSTER_PX
    for members in clusters:
        anchor = points[members[0]]
        assert all(max(abs(anchor[0] - points[i][0]), abs(anchor[1] - points[i][1])) < CLUSTER_PX for i in members)


def test_point_joins_the_first_of_two_near_clusters() -> None:
    assert cluster([(0.0, 0.0), (40.0, 0.0), (20.0, 0.0), (41.0, 1.0)]) == [[0, 2], [1, 3]]
