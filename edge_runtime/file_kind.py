"""Say what a file is that was given as a model and is none."""

_CONVERT = "convert it first: edge-convert {name} -o model.tflite (--estimate tells what it will take on a board)"
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "a Keras model (HDF5)", _CONVERT),
    (b"\x08\x01\x12", "a part of a TensorFlow SavedModel", "convert its folder: edge-convert FOLDER -o model.tflite"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself: git lfs pull"),
    (b"PK\x03\x04", "a zip archive (a .keras file, a PyTorch file or a packed model)", "unpack or convert it first"),
    (b"\x80\x02", "a Python pickle (PyTorch)", "export it to ONNX, then: edge-convert MODEL.onnx -o model.tflite"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"\x7fELF", "a program or library", "give the .tflite file"),
    (b"GGUF", "a GGUF language model", "give a .tflite file"),
    (b"\x89PNG", "a PNG picture", "give it with --images and the model with --model"),
    (b"\xff\xd8\xff", "a JPEG picture", "give it with --images and the model with --model"),
    (b"BM", "a BMP picture", "give it with --images and the model with --model"),
    (b"RIFF", "a WAV or AVI file", "give it as the source and the model with --model"),
    (b"LITERTLM", "a LiteRT-LM language model", "give a .tflite file"),
)
_TEXT = frozenset(range(32, 127)) | {9, 10, 13}


def describe_file(head: bytes, name: str) -> str:
    """Return "a Keras model (HDF5); convert it first: …" from a file's first bytes (64 or more) and its name.

    The name is that of commands which are advised: quoted where a shell wants it.
    """
    if not head:
        return "an empty file; fetch it again"
    for signature, kind, advice in _SIGNATURES:
        if head.startswith(signature):
            return f"{kind}; {advice.format(name=name)}"
    if _is_onnx(head):
        return f"an ONNX model; {_CONVERT.format(name=name)}"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, probably an error page of a download; fetch the file itself"
    if all(byte in _TEXT or byte >= 128 for byte in head):
        return "a text file; give the .tflite file"
    return "no .tflite file (the identifier TFL3 is missing); fetch or convert it again"


def _is_onnx(head: bytes) -> bool:
    """Tell an ONNX ModelProto by its first fields: ir_version (1, a small varint), then producer_name or opset."""
    return len(head) > 3 and head[0] == 0x08 and 2 < head[1] < 0x20 and head[2] in {0x12, 0x1A, 0x22, 0x2A, 0x3A, 0x42}
