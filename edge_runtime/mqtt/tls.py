"""Whom the device believes, and how it proves who it is. Imported only for ``mqtts://``."""

import ssl

from edge_runtime.errors import UsageError


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def make_context(*, ca_file: str | None, cert_file: str | None, key_file: str | None, insecure: bool) -> ssl.SSLContext:
    """Return a client's context: TLS 1.2 or newer, certificate and host name checked unless ``insecure``.

    Raises UsageError for files that hold no PEM, or do not belong together.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the broker's ca_file {ca_file} holds no PEM certificates: {_reason(error)}") from error
    if cert_file is not None:
        try:  # an encrypted key would make OpenSSL ask on the terminal
            context.load_cert_chain(cert_file, key_file, password=lambda: "")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise UsageError(
                f"the broker's cert_file {cert_file} and key_file do not make a pair of PEM files "
                f"without a passphrase: {_reason(error)}"
            ) from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = _TidySocket
    return context


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
