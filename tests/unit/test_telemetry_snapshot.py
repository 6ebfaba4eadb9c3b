import io

import numpy as np
import pytest
from PIL import Image
from predictions import FakeBus, anomaly, classified, detected, prediction, regressed

from edge_runtime.errors import UsageError
from edge_runtime.telemetry.labels import PALETTE, color_of, legible
from edge_runtime.telemetry.snapshot import draw
from edge_runtime.telemetry.snapshots import Snapshots
from edge_runtime.types import Detections, Frame, Poses, RawTensors, Segmentation, Transform, View

NS = 10**9
GREY = np.full((240, 320, 3), 128, np.uint8)


def drawn(what, picture=GREY):
    before = picture.copy()
    image = Image.open(io.BytesIO(draw(picture, what)))
    assert image.format == "JPEG"
    assert image.size == picture.shape[1::-1]
    assert (picture == before).all(), "the frame belongs to somebody else"
    return np.asarray(image).astype(int)


def boxes(*rows, labels, size):
    n = len(rows)
    scores = np.full(n, 0.9, np.float32)
    result = Detections(np.array(rows, np.float32).reshape(-1, 4), np.arange(n), scores, labels, size)
    return prediction(result, "detect")


def changed(pixels, picture=GREY):
    return np.abs(pixels - picture.astype(int)).max(axis=2) > 40


def test_a_box_is_drawn_where_it_is_in_the_color_of_its_class():
    pixels = drawn(boxes([100, 80, 200, 180], labels=("cat",), size=(320, 240)))
    edge = pixels[130, 100:105]
    # JPEG halves the resolution of colour, so a thin line is a little duller than its pen.
    assert np.abs(edge - np.array(color_of(0))).max(axis=1).min() < 100
    assert (edge[:, 0] - edge[:, 2]).max() > 100
    marks = changed(pixels)
    assert not marks[100:160, 120:180].any(), "inside the box the picture is untouched"
    assert not marks[200:, :].any()


def test_boxes_are_scaled_to_a_picture_of_another_size():
    pixels = drawn(boxes([200, 160, 400, 360], labels=("cat",), size=(640, 480)))
    assert (
        changed(pixels) == changed(drawn(boxes([100, 80, 200, 180], labels=("cat",), size=(320, 240))))
    ).mean() > 0.99


@pytest.mark.parametrize(
    "box",
    [
        [-50, -50, 500, 500],
        [310, 230, 320, 240],
        [50, 50, 50, 50],
        [200, 100, 100, 50],
        [0, 0, 1, 1],
        [np.nan] * 4,
        [1e9] * 4,
    ],
)
def test_no_box_is_too_odd_to_draw(box):
    drawn(boxes(box, labels=(None,), size=(320, 240)))


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (3000, 20)])
def test_no_picture_is_too_small(size):
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    drawn(boxes([0, 0, *size], labels=("a very long label indeed",), size=size), picture)
    drawn(classified((1, 0.5)), picture)


def test_areas_are_tinted_and_the_background_is_not():
    mask = np.zeros((24, 32), np.uint8)
    mask[:, 16:] = 3
    fits = Transform((32, 24), (320, 240), (10.0, 10.0))
    ids, counts = np.array([0, 3]), np.array([384, 384])
    pixels = drawn(prediction(Segmentation(mask, ids, counts, ("background", "dog"), fits), "segment"))
    tinted = changed(pixels)
    assert tinted[100:, 170:].all()
    assert not tinted[100:, :150].any()


def test_the_part_of_a_mask_that_lies_outside_the_picture_is_cut_off():
    # Letterboxed: the model saw grey bars above and below a wide picture.
    picture = np.full((100, 200, 3), 128, np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[:5], mask[15:] = 1, 1
    boxed = Transform((20, 20), (200, 100), (10.0, 10.0), (0.0, -50.0))
    result = Segmentation(mask, np.array([0, 1]), np.array([200, 200]), (None, "bar"), boxed)
    assert not changed(drawn(prediction(result, "segment"), picture), picture)[40:].any()


def test_keypoints_are_drawn_and_guesses_are_not():
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, 5] = [60, 60, 0.9]
    keypoints[0, 6] = [120, 60, 0.9]
    keypoints[0, 0] = [250, 200, 0.1]
    marks = changed(drawn(prediction(Poses(keypoints, np.array([0.9], np.float32), (320, 240)), "pose")))
    assert marks[60, 60]
    assert marks[60, 90], "the shoulders are joined"
    assert not marks[190:210, 240:260].any()


@pytest.mark.parametrize("what", [classified((1, 0.9), (2, 0.1)), anomaly(2.0), regressed(21.5)])
def test_other_answers_are_written_in_the_corner(what):
    marks = changed(drawn(what))
    assert marks[:60, :160].any()
    assert not marks[120:].any()


def test_raw_tensors_leave_the_picture_as_it_is():
    assert not changed(drawn(prediction(RawTensors(("a",), (np.zeros(3),)), "raw"))).any()


def test_letters_that_no_font_has_do_not_become_boxes():
    text, font = legible("Kätzchen", 20)
    assert text in {"Kätzchen", "Katzchen"}  # with or without a font of the system
    assert font.getbbox(text)[2] > 0
    assert legible("cat\x1b", 20)[0] == "cat?"
    nothing_has_these = legible("\U000f0000 cat", 20)[0]
    assert nothing_has_these == "? cat"


def test_colors_read_well_under_black_text():
    assert len(set(PALETTE)) == len(PALETTE)
    for r, g, b in PALETTE:
        assert 0.299 * r + 0.587 * g + 0.114 * b > 120


@pytest.fixture
def latest():
    def framed(stream):
        frame = Frame(GREY, "rgb", stream, 0, 0, 0)
        return detected((3, 0.9), size=(320, 240), stream=stream, frame=frame)

    return {"camera0": framed("camera0"), "camera1": framed("camera1"), "sensor0": regressed(1.0, stream="sensor0")}


def test_a_snapshot_is_published_when_asked_for_and_at_most_once_a_second(latest):
    bus, now = FakeBus(), [100 * NS]
    snapshots = Snapshots(bus, device="porch", latest=latest, monotonic_ns=lambda: now[0])
    assert snapshots.command({"stream": "camera0"}) == {"streams": ["camera0"]}
    topic, payload, qos, retain = bus.published[0]
    assert (topic, payload[:2], qos, retain) == ("edge-infer/porch/camera0/snapshot", b"\xff\xd8", 0, False)
    assert snapshots.command({}) == {"streams": ["camera1"]}
    assert snapshots.command({}) == {"streams": []}
    now[0] += NS
    assert snapshots.command({}) == {"streams": ["camera0", "camera1"]}
    assert len(bus.published) == 4


def test_masks_are_on_the_snapshot_too(latest):
    bus = FakeBus()
    views = {"camera0": View(masks=((0, 120, 320, 120),))}
    Snapshots(bus, device="porch", latest=latest, views=views).command({"stream": "camera0"})
    pixels = np.asarray(Image.open(io.BytesIO(bus.published[0][1])))
    assert pixels[130:].max() < 30
    assert pixels[110, 300].min() > 100


def test_a_stream_that_is_not_there_is_named_with_those_that_are(latest):
    with pytest.raises(UsageError, match="camera0, camera1, sensor0"):
        Snapshots(FakeBus(), device="porch", latest=latest).command({"stream": "camera9"})
    with pytest.raises(UsageError, match="none yet"):
        Snapshots(FakeBus(), device="porch", latest={}).command({"stream": "camera0"})


@pytest.mark.parametrize("stream", [["camera0"], {"name": "camera0"}, 0, True])
def test_a_stream_that_is_no_text_is_wrong_usage(latest, stream):
    with pytest.raises(UsageError, match="the stream is not a text"):
        Snapshots(FakeBus(), device="porch", latest=latest).command({"stream": stream})
