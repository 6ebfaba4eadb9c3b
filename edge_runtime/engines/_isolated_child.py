"""The child's side of an isolated engine: ``python -m edge_runtime.engines._isolated_child DESCRIPTOR``.

The descriptor is its end of the dialogue in ``_isolated_dialogue``; standard input is a pipe that its parent never
writes to, and standard output and error end in the parent's debug log.
"""

import fcntl
import logging
import os
import select
import signal
import socket
import sys
from typing import Final

import msgspec
import numpy as np

from edge_runtime.engines._child_limits import go_first, limit_memory
from edge_runtime.engines._isolated_dialogue import (
    DONE,
    LONGEST_BYTES,
    Done,
    Failed,
    Opened,
    Opening,
    PlainTensor,
    Shape,
    SharedTensors,
    encode,
)
from edge_runtime.engines.delegates import load_delegate
from edge_runtime.engines.litert import LiteRtEngine
from edge_runtime.errors import EdgeRuntimeError, ModelError
from edge_runtime.interpreter import load_runtime
from edge_runtime.protocols import Engine

PARENT_ALIVE: Final = 0
"""Standard input: a pipe whose other end is open as long as the parent lives."""


def die_with_parent() -> None:
    """Let the kernel kill this process when the parent's end of the pipe closes, however the parent ended.

    Unlike a thread that waits for it, this needs neither the interpreter's lock, which stuck native code may hold, nor
    a process that runs; and unlike PR_SET_PDEATHSIG it is about the parent, not about its thread that started this.
    """
    fcntl.fcntl(PARENT_ALIVE, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(PARENT_ALIVE, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(PARENT_ALIVE, fcntl.F_SETFL, fcntl.fcntl(PARENT_ALIVE, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(PARENT_ALIVE, 0)
    if poll.poll(0):  # it was gone before the kernel was asked
        sys.exit(1)


def settle() -> None:
    """Leave signals to the parent, which ends this process in its own order."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.raiseExceptions = False  # the pipe to the parent is full: its debug log then lacks a line
    logging.basicConfig(level=logging.DEBUG, format="%(message)s")


def open_engine(opening: Opening) -> Engine:
    """Open the engine and invoke it once on zeros: what is opened has answered. Raises errors of the tree."""
    library = load_delegate(opening.library, load_runtime(opening.runtime)) if opening.library else None
    engine = LiteRtEngine(
        opening.model,
        threads=opening.threads,
        runtime=opening.runtime,
        delegate_library=library,
        delegate=opening.delegate,
        delegate_reason=opening.delegate_reason,
    )
    if any(tensor.dtype.kind not in "biufc" for tensor in (*engine.inputs, *engine.outputs)):
        raise ModelError(f"{opening.model} has tensors of text, which only [engine] isolate = false can run")
    engine.invoke([np.zeros(tensor.shape, tensor.dtype) for tensor in engine.inputs])
    return engine


def serve(control: socket.socket) -> None:
    """Open the engine that the parent names and run it until the parent hangs up."""
    opening = msgspec.json.decode(control.recv(LONGEST_BYTES), type=Opening)
    if opening.allocate_bytes is not None:
        limit_memory(opening.allocate_bytes)
    try:
        engine = open_engine(opening)
    except EdgeRuntimeError as error:
        control.send(encode(Failed(type(error).__name__, str(error))))
        return
    inputs, outputs = (tuple(map(PlainTensor.of, tensors)) for tensors in (engine.inputs, engine.outputs))
    control.send(encode(Opened(inputs, outputs, engine.runtime)))
    _, descriptors, _, _ = socket.recv_fds(control, LONGEST_BYTES, 1)
    if not descriptors:
        return
    tensors = SharedTensors(descriptors[0], engine.inputs, engine.outputs)
    declared = tuple(tensor.shape for tensor in engine.outputs)
    while control.recv(LONGEST_BYTES):
        control.send(answer(engine, tensors, declared))


def answer(engine: Engine, tensors: SharedTensors, declared: tuple[Shape, ...]) -> bytes:
    """Invoke on what is in the shared memory, put the outputs there, and return what is sent to the parent."""
    try:
        outputs = engine.invoke(tensors.inputs)
    except EdgeRuntimeError as error:
        return encode(Failed(type(error).__name__, str(error)))
    shapes = tuple(output.shape for output in outputs)
    changed = None if shapes == declared else shapes
    for view, output in zip(tensors.views_of(changed, grow=True), outputs, strict=True):
        view[...] = output
    return DONE if changed is None else encode(Done(changed))


if __name__ == "__main__":
    go_first()
    settle()
    die_with_parent()
    serve(socket.socket(fileno=int(sys.argv[1])))
