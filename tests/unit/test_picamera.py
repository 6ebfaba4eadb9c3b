"""The Raspberry Pi camera over a picamera2 of the test's own, which behaves as its manual and source say."""

import importlib
import importlib.machinery
import importlib.util
import sys
import time
from concurrent.futures import Future
from types import ModuleType

import msgspec
import numpy as np
import pytest

from edge_runtime.errors import InputMismatchError, SourceError, SourceTimeoutError, SourceUnavailableError
from edge_runtime.sources import camera
from edge_runtime.sources.picamera import PicameraConfig, PicameraSource, lores_size, pi_cameras
from edge_runtime.types import ImageInput, WindowInput

CSI = {"Model": "imx219", "Id": "/base/soc/i2c0mux/i2c@1/imx219@10"}
SECOND = {"Model": "imx708", "Id": "/base/soc/i2c0mux/i2c@0/imx708@1a"}
USB = {"Model": "Webcam", "Id": "/base/scb/pcie@7d500000/usb@0,0-1.3:1.0-046d:0825"}


class Job:
    """``picamera2.job.Job``: done when a frame comes, then the signal function is called."""

    def __init__(self, signal):
        self._future, self._signal = Future(), signal

    def finish(self, request):
        self._future.set_result(request)
        self._signal(self)

    def fail(self, error):
        self._future.set_exception(error)
        self._signal(self)

    def get_result(self, timeout=None):
        return self._future.result(timeout)


class Request:
    def __init__(self, camera, *, stamp_ns):
        self.camera, self.stamp_ns, self.released = camera, stamp_ns, False

    def make_buffer(self, name):
        stream = self.camera.granted[name]
        return np.arange(stream["stride"] * stream["size"][1] * 3 // 2, dtype=np.uint32).astype(np.uint8)

    def make_array(self, name):
        width, height = self.camera.granted[name]["size"]
        return np.full((height, width, 3), (1, 2, 3), np.uint8)

    def get_metadata(self):
        return {} if self.stamp_ns is None else {"SensorTimestamp": self.stamp_ns}

    def release(self):
        assert not self.released
        self.released = True


class FakePicamera2:
    infos = (CSI,)
    busy = frozenset()
    opened = None
    """The last one made."""
    refuses = None

    def __init__(self, camera_num=0):
        if camera_num in self.busy:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        type(self).opened = self
        self.number, self.jobs, self.requests = camera_num, [], []
        self.frames = 0
        """How many the camera still delivers at once."""
        self.stamp_ns = None
        self.started = self.closed = False

    @staticmethod
    def global_camera_info():
        return [dict(info) for info in FakePicamera2.infos]

    def create_preview_configuration(self, *, main, lores, colour_space, controls, display, encode):
        return {
            "colour_space": colour_space,
            "main": main,
            "lores": lores,
            "controls": controls,
            "display": display,
            "encode": encode,
        }

    def configure(self, configuration):
        if self.refuses:
            raise self.refuses
        self.asked = configuration
        # The image processor pads the rows of planes to 64 bytes, and says so only after configuring.
        self.granted = {
            name: stream and {**stream, "stride": -(-stream["size"][0] // 64) * 64 if name == "lores" else 0}
            for name, stream in (("main", configuration["main"]), ("lores", configuration["lores"]))
        }

    def camera_configuration(self):
        return self.granted

    def start(self):
        self.started = True

    def capture_request(self, wait=None, signal_function=None):
        assert wait is False
        self.jobs.append(Job(signal_function))
        if self.frames:
            self.frames -= 1
            self.deliver()
        return self.jobs[-1] if self.jobs else self.last

    def deliver(self):
        self.last = self.jobs.pop(0)
        self.requests.append(Request(self, stamp_ns=self.stamp_ns))
        self.last.finish(self.requests[-1])

    def cancel_all_and_flush(self):
        self.jobs.clear()

    def stop(self):
        assert not self.jobs, "picamera2 would wait here for ever"
        self.started = False

    def close(self):
        self.closed = True


@pytest.fixture
def picamera2(monkeypatch):
    module = ModuleType("picamera2")
    module.__spec__ = importlib.machinery.ModuleSpec("picamera2", None)
    module.Picamera2 = type("Picamera2", (FakePicamera2,), {})
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setattr(FakePicamera2, "infos", (CSI,))
    libcamera = ModuleType("libcamera")
    libcamera.ColorSpace = type("ColorSpace", (), {"Smpte170m": staticmethod(lambda: "BT.601, limited range")})
    monkeypatch.setitem(sys.modules, "libcamera", libcamera)
    return module.Picamera2


def opened(*, wants=ImageInput((224, 224)), frames=10, boottime_ns=time.monotonic_ns, **settings):  # noqa: B008 - frozen
    source = PicameraSource(PicameraConfig(**settings), stream="camera0", wants=wants, boottime_ns=boottime_ns)
    source.open()
    source._camera.frames = frames
    return source


def test_the_model_gets_the_small_picture_without_the_padding_of_its_rows(picamera2):
    frame = opened().read(1.0)
    assert (frame.format, frame.data.shape, frame.sequence) == ("i420", (224 * 3 // 2, 400), 0)
    rows = np.arange(448 * 2, dtype=np.uint32).astype(np.uint8).reshape(2, 448)
    np.testing.assert_array_equal(frame.data[:2], rows[:, :400])


def test_both_pictures_have_the_same_shape_and_plain_colours(picamera2):
    opened(size=(1640, 1232), fps=10)
    asked = picamera2.opened.asked
    assert asked["main"] == {"size": (1640, 1232), "format": "BGR888"}
    assert asked["lores"] == {"size": (300, 224), "format": "YUV420"}
    assert asked["colour_space"] == "BT.601, limited range"
    assert asked["controls"] == {"FrameDurationLimits": (100_000, 100_000)}


def test_a_large_picture_comes_along_once_a_second_and_no_more(picamera2, monkeypatch):
    now_ns = [10**9]
    monkeypatch.setattr("edge_runtime.sources.picamera.monotonic_ns", lambda: now_ns[0])
    source = opened(boottime_ns=lambda: now_ns[0])
    with_full = []
    for _ in range(8):
        frame = source.read(1.0)
        with_full.append(frame.full is not None)
        now_ns[0] += 300_000_000
    assert with_full == [True, False, False, False, True, False, False, False]
    assert source.read(1.0).full.shape == (720, 1280, 3)


def test_without_a_model_the_large_picture_is_the_frame(picamera2):
    frame = opened(wants=None).read(1.0)
    assert (frame.format, frame.data.shape, frame.full) == ("rgb", (720, 1280, 3), None)
    assert frame.data[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("main", "model", "expected"),
    [
        ((1280, 720), (224, 224), (400, 224)),
        ((1280, 720), (513, 300), (534, 300)),
        ((1640, 1232), (96, 96), (128, 96)),
        ((640, 480), (640, 640), None),
        ((1281, 721), (1280, 700), (1280, 720)),
    ],
)
def test_the_small_picture_just_covers_the_input(main, model, expected):
    assert lores_size(main, ImageInput(model)) == expected


def test_every_request_goes_back_to_the_camera(picamera2):
    source = opened()
    for _ in range(3):
        source.read(1.0)
    assert [request.released for request in picamera2.opened.requests] == [True] * 3


def test_the_exposure_stamp_is_taken_from_boot_time_to_monotonic_time(picamera2):
    suspended_ns = 3_600 * 10**9
    source = opened(boottime_ns=lambda: time.monotonic_ns() + suspended_ns)
    exposed_ns = time.monotonic_ns() - 20_000_000
    picamera2.opened.stamp_ns = exposed_ns + suspended_ns
    assert source.read(1.0).captured_ns == pytest.approx(exposed_ns, abs=5_000_000)


def test_a_stamp_that_was_monotonic_all_along_is_taken_as_it_is(picamera2):
    source = opened(boottime_ns=lambda: time.monotonic_ns() + 3_600 * 10**9)
    picamera2.opened.stamp_ns = exposed_ns = time.monotonic_ns() - 20_000_000
    assert source.read(1.0).captured_ns == exposed_ns


@pytest.mark.parametrize("stamp_ns", [None, 1, 2**62])
def test_a_stamp_that_cannot_be_is_not_believed(picamera2, stamp_ns):
    source = opened()
    picamera2.opened.stamp_ns = stamp_ns
    frame = source.read(1.0)
    assert frame.captured_ns == frame.arrived_ns


def test_silence_ends_at_the_deadline_and_the_same_request_is_waited_for(picamera2):
    source = opened(frames=0)
    for _ in range(2):
        with pytest.raises(SourceTimeoutError, match=r"0\.01 s"):
            source.read(0.01)
    assert len(picamera2.opened.jobs) == 1
    picamera2.opened.deliver()
    assert source.read(1.0).sequence == 0


def test_a_camera_that_fell_silent_can_be_closed(picamera2, monkeypatch):
    source = opened(frames=0)
    with pytest.raises(SourceTimeoutError):
        source.read(0.01)
    monkeypatch.setattr(source._done, "wait", lambda timeout_s: False)
    source.close()
    assert (picamera2.opened.started, picamera2.opened.closed) == (False, True)
    source.close()


def test_a_frame_that_came_too_late_is_given_back_on_closing(picamera2):
    source = opened(frames=0)
    with pytest.raises(SourceTimeoutError):
        source.read(0.01)
    picamera2.opened.deliver()
    source.close()
    assert picamera2.opened.requests[0].released


def test_a_failing_camera_is_to_be_opened_again(picamera2):
    source = opened(frames=0)
    with pytest.raises(SourceTimeoutError):
        source.read(0.01)
    picamera2.opened.jobs.pop().fail(RuntimeError("Camera frontend has timed out"))
    with pytest.raises(SourceError, match="frontend has timed out"):
        source.read(1.0)
    source.open()
    assert not picamera2.opened.closed


def test_a_camera_that_refuses_to_start_is_closed_again(picamera2):
    picamera2.refuses = RuntimeError("Invalid camera configuration")
    with pytest.raises(SourceUnavailableError, match="camera 0 does not start: Invalid camera configuration"):
        opened()
    assert picamera2.opened.closed


def test_the_second_camera_is_taken_when_the_first_is_in_use(picamera2, monkeypatch):
    monkeypatch.setattr(FakePicamera2, "infos", (CSI, SECOND))
    picamera2.busy = {0}
    assert opened().describe()["name"] == "imx708"
    picamera2.busy = {0, 1}
    with pytest.raises(SourceUnavailableError, match=r"camera 0, 1 is in use .*fuser"):
        opened()


def test_a_camera_by_number(picamera2, monkeypatch):
    monkeypatch.setattr(FakePicamera2, "infos", (CSI, SECOND))
    assert opened(camera=1).describe() == {
        "type": "picamera",
        "device": 1,
        "name": "imx708",
        "size": [400, 224],
        "full_size": [1280, 720],
        "fps": 30.0,
        "format": "i420",
    }
    with pytest.raises(SourceUnavailableError, match="no Raspberry Pi camera 2"):
        opened(camera=2)


def test_usb_cameras_are_left_to_their_own_source(picamera2, monkeypatch):
    monkeypatch.setattr(FakePicamera2, "infos", (USB, SECOND))
    assert [info["Num"] for info in pi_cameras()] == [1]
    assert camera.pick_camera() == ("picamera", {})
    monkeypatch.setattr(FakePicamera2, "infos", (USB,))
    assert camera.pick_camera() == ("v4l2", {})


def test_without_picamera2_a_camera_is_a_v4l2_camera(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert camera.pick_camera() == ("v4l2", {})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("No module named 'libcamera'"), "apt install python3-picamera2"),
        (ValueError("numpy.dtype size changed"), "python3-numpy"),
    ],
)
def test_a_picamera2_that_does_not_load_is_explained(monkeypatch, error, said):
    def fail(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(SourceUnavailableError, match=said):
        opened()


def test_a_model_for_samples_is_refused(picamera2):
    with pytest.raises(InputMismatchError, match="--sensor"):
        opened(wants=WindowInput(128, 3))


@pytest.mark.parametrize("values", [{"size": (0, 480)}, {"fps": -1}, {"device": "/dev/video0"}])
def test_settings_that_cannot_be_meant_are_refused(values):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(values, PicameraConfig)
