"""Every error this package raises on purpose, in one tree.

EdgeRuntimeError                    status 1
├── UsageError                      status 2   a flag, a file name or a value the user gave is wrong
│   └── ConfigError                            the configuration file (names file, key, expected, found)
├── RefusedError                    status 3   understood, and not done
│   ├── ModelError                             the model file is corrupt, unsupported or fails its checks
│   ├── UnsupportedPlatformError               edge-infer cannot work on this board or system
│   ├── EdgeTpuRequiredError                   compiled for an Edge TPU and none answers
│   └── InputMismatchError                     this model cannot take what this source gives
├── SourceError                     status 1   a camera, file or sensor failed; retryable
│   ├── SourceTimeoutError                     nothing arrived before the deadline
│   ├── SourceUnavailableError                 busy, missing or not permitted; retryable when live
│   └── BadFrameError                          this one frame is broken; count it and go on
├── EngineError                     status 1   the interpreter failed while running
│   ├── DelegateError                          a delegate could not be loaded, prepared or used
│   └── EngineRestartingError                  this frame is lost, the engine is being restarted; retryable
├── BrokerError                     status 1   retryable, except a refused login
├── InstallError                    status 1   the service could not be installed; what was there still is
├── StoreError                      status 1   the state directory cannot be read or written
└── DownloadError                   status 1   a model could not be fetched or did not match its checksum

Plugins raise; only workers retry. ``retryable`` and ``exit_status`` belong to the class.
A message is one line and says what to do.
"""

from typing import ClassVar


class EdgeRuntimeError(Exception):
    """Base of the tree. ``str(error)`` is one line fit for a terminal."""

    exit_status: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


class UsageError(EdgeRuntimeError):
    """Something the user gave is wrong."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration file, environment variable or flag does not validate."""


class RefusedError(EdgeRuntimeError):
    """The request was understood and is refused."""

    exit_status = 3


class ModelError(RefusedError):
    """The model file is corrupt, hostile, unsupported or does not match its manifest."""


class UnsupportedPlatformError(RefusedError):
    """This board or system cannot run edge-infer, whatever is installed."""


class EdgeTpuRequiredError(RefusedError):
    """The model was compiled for an Edge TPU and there is none to run it."""


class InputMismatchError(RefusedError):
    """The model's input cannot be fed from this source."""


class SourceError(EdgeRuntimeError):
    """A source failed in a way that reopening it may mend."""

    retryable = True


class SourceTimeoutError(SourceError):
    """Nothing arrived before the deadline; the source is still open."""


class SourceUnavailableError(SourceError):
    """The source cannot be opened: missing, busy or not permitted."""


class BadFrameError(SourceError):
    """One frame is broken. The source goes on; the frame is counted and skipped."""


class EngineError(EdgeRuntimeError):
    """The interpreter failed while running."""


class DelegateError(EngineError):
    """A delegate library could not be loaded, prepared or used."""


class EngineRestartingError(EngineError):
    """The engine's process was lost, and the frame with it; it restarts itself, and a later frame may be inferred."""

    retryable = True


class BrokerError(EdgeRuntimeError):
    """The broker cannot be reached or refuses this client."""

    retryable = True


class InstallError(EdgeRuntimeError):
    """The service could not be installed, upgraded or removed; what worked before still does."""


class StoreError(EdgeRuntimeError):
    """The state directory cannot be read or written."""


class DownloadError(EdgeRuntimeError):
    """A file could not be fetched, or is not what it should be."""

    retryable = True
