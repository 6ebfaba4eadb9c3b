"""Cameras through the kernel's V4L2 interface, without a library: ioctl, mmap and poll."""

from edge_runtime.sources.v4l2._sentences import NO_CAMERA
from edge_runtime.sources.v4l2.cameras import CameraInfo, list_cameras
from edge_runtime.sources.v4l2.source import V4L2Config, V4L2Source

__all__ = ["NO_CAMERA", "CameraInfo", "V4L2Config", "V4L2Source", "list_cameras"]
