"""The program of the stand-in broker: ``python -m edge_runtime.mqtt._amqtt_child PORT``. For demonstration only."""

import asyncio
import logging
import signal
import sys
from typing import Any


def configuration(port: int) -> dict[str, Any]:
    """Return amqtt's configuration: the loopback interface, everybody welcome, no ``$SYS`` topics."""
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }


async def serve(port: int) -> None:
    """Run the broker until SIGTERM."""
    from amqtt.broker import Broker

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    broker = Broker(configuration(port))
    await broker.start()
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(serve(int(sys.argv[1])))
