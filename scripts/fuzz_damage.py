"""Sound models, where their structure lies, and ways to break it: the material of ``scripts/fuzz_models.py``."""

from __future__ import annotations

import io
import random
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_runtime import flatbuffer
from edge_runtime.model_file import parse_model

TELLING = (0, 1, 2, 3, 4, 127, 128, 255, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE)
SMALL = (0, 1, 2, 3, 4, 5, 6, 8, 12, 0x7FFF, 0x8000, 0xFFFF)
BOMB_BYTES = 60_000_000


@dataclass
class Anchors:
    """Where the reader met structure: byte positions."""

    tables: set[int] = field(default_factory=set)
    """Of a table's offset to its vtable."""
    vtables: set[int] = field(default_factory=set)
    pointers: set[int] = field(default_factory=set)
    """Of offsets to vectors, strings and tables."""
    counts: set[int] = field(default_factory=set)
    """Of vectors' and strings' lengths."""


@dataclass(frozen=True)
class Original:
    """A sound model, the ranges of its bytes that are structure rather than weights, and its anchors."""

    name: str
    data: bytes
    structure: list[range]
    tables: list[int]
    vtables: list[int]
    pointers: list[int]
    counts: list[int]


def read_original(path: Path) -> Original:
    """Read a sound model from a file."""
    return original(path.name, path.read_bytes())


def original(name: str, data: bytes) -> Original:
    """Take a sound model apart."""
    anchors = Anchors()
    with _Watched(anchors):
        model = parse_model(data, name)
        weights = []
        for index in range(model.buffer_count):
            content = bytes(model.buffer(index))
            if len(content) > 64 and (begin := data.find(content)) >= 0:
                weights.append((begin, begin + len(content)))
    structure, end = [], 0
    for begin, stop in sorted(weights):
        if begin > end:
            structure.append(range(end, begin))
        end = max(end, stop)
    if end < len(data):
        structure.append(range(end, len(data)))
    return Original(name, data, structure, *(sorted(places) for places in vars(anchors).values()))


class _Watched:
    """While it is open, the reader notes every table, vtable, offset and count that it looks at."""

    def __init__(self, anchors: Anchors) -> None:
        self._anchors = anchors
        self._kept: dict[str, Any] = {}

    def __enter__(self) -> None:
        table, anchors = flatbuffer.Table, self._anchors
        self._kept = {name: getattr(table, name) for name in ("__init__", "_target", "_vector")}
        init, target, vector = self._kept.values()

        def watched_init(own: Any, flat: Any, position: int) -> None:
            init(own, flat, position)
            anchors.tables.add(position)
            anchors.vtables.add(position - flatbuffer.I32.unpack_from(flat.data, position)[0])

        def watched_target(own: Any, number: int) -> int:
            if place := own._at(number):  # noqa: SLF001 - this looks over the reader's shoulder
                anchors.pointers.add(place)
            return int(target(own, number))

        def watched_vector(own: Any, number: int, item_size: int) -> tuple[int, int]:
            start, count = vector(own, number, item_size)
            if start:
                anchors.counts.add(start - 4)
                if item_size == 4:
                    anchors.pointers.update(range(start, start + 4 * min(count, 64), 4))
            return start, count

        table.__init__, table._target, table._vector = watched_init, watched_target, watched_vector  # type: ignore[method-assign]  # noqa: SLF001

    def __exit__(self, *_: object) -> None:
        for name, method in self._kept.items():
            setattr(flatbuffer.Table, name, method)


def damage(sound: Original, chance: random.Random) -> bytes:
    """Return a copy that is damaged in one of many ways, half of them aimed at the file's structure."""
    return chance.choice(_WAYS)(sound, bytearray(sound.data), chance)


def _cut_off(_: Original, data: bytearray, chance: random.Random) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def _cut_out(_: Original, data: bytearray, chance: random.Random) -> bytes:
    begin, stop = sorted(chance.choices(range(len(data)), k=2))
    del data[begin : min(stop, begin + chance.choice((1, 4, 64, 4096)))]
    return bytes(data)


def _exchange(sound: Original, data: bytearray, chance: random.Random) -> bytes:
    begin, source = _place(sound, chance), _place(sound, chance)
    length = chance.choice((4, 16, 64, 256))
    data[begin : begin + length] = data[source : source + length]
    return bytes(data)


def _change_bytes(sound: Original, data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = _place(sound, chance)
        data[at] = chance.choice((chance.randrange(256), data[at] ^ 1 << chance.randrange(8)))
    return bytes(data)


def _change_words(sound: Original, data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = _place(sound, chance)
        at -= at % 4
        data[at : at + 4] = chance.choice(TELLING).to_bytes(4, "little")
    return bytes(data)


def _change_vtables(sound: Original, data: bytearray, chance: random.Random) -> bytes:
    """Change the size, the table's size, or a field's place in a vtable; or which vtable a table has."""
    for _ in range(chance.choice((1, 1, 3))):
        at = chance.choice(sound.vtables) + 2 * chance.choice((0, 1, *range(2, 14)))
        if chance.random() < 0.3:
            at, other = chance.choice(sound.tables), chance.choice(sound.vtables)
            data[at : at + 4] = ((at - other) & 0xFFFFFFFF).to_bytes(4, "little")
        elif at + 2 <= len(data):
            data[at : at + 2] = chance.choice((*SMALL, chance.randrange(0x10000))).to_bytes(2, "little")
    return bytes(data)


def _change_pointers(sound: Original, data: bytearray, chance: random.Random) -> bytes:
    """Let an offset point at something else that is real: another table, itself, a count, far away."""
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.choice(sound.pointers)
        goal = chance.choice((chance.choice(sound.tables), chance.choice(sound.counts), at, at + 4, len(data) - 4))
        offset = goal - at if chance.random() < 0.8 else chance.choice(TELLING)
        data[at : at + 4] = (offset & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(data)


def _change_counts(sound: Original, data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.choice(sound.counts)
        count = int.from_bytes(data[at : at + 4], "little")
        telling = (count + 1, count - 1, 2 * count, 0, len(data) // 4, *TELLING)
        data[at : at + 4] = (chance.choice(telling) & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(data)


def _repeat_entries(sound: Original, data: bytearray, chance: random.Random) -> bytes:
    """Append a long vector whose every entry is the same table, and let an offset point at it: much from little."""
    at, goal = chance.choice(sound.pointers), chance.choice(sound.tables)
    count = chance.choice((100, 5_000, 60_000))
    data += bytes(-len(data) % 4)
    start = len(data)
    data[at : at + 4] = (start - at).to_bytes(4, "little", signed=True)
    data += count.to_bytes(4, "little")
    for place in range(start + 4, start + 4 + 4 * count, 4):
        data += ((goal - place) & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(data)


def _spoil_archive(_: Original, data: bytearray, chance: random.Random) -> bytes:
    """Append a zip of metadata files, or more of one, that is damaged, huge when unpacked, or has telling names."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name in chance.sample(
            ("labels.txt", "../labels.txt", "a" * 300, "edge_runtime.manifest", "vocab.txt"), k=2
        ):
            archive.writestr(name, chance.randbytes(chance.choice((0, 10, 3000))))
        if chance.random() < 0.05:
            archive.writestr("bomb.txt", bytes(BOMB_BYTES), zipfile.ZIP_DEFLATED)
    packed = bytearray(held.getvalue())
    for _ in range(chance.choice((0, 1, 1, 2, 8))):
        at = chance.randrange(max(0, len(packed) - 200), len(packed) - 4)
        packed[at : at + 4] = chance.choice(TELLING).to_bytes(4, "little")
    return bytes(data + packed)


_WAYS = (
    *(_cut_off, _cut_out, _exchange, _change_bytes, _change_bytes, _change_words, _change_words),
    *(_change_vtables, _change_vtables, _change_pointers, _change_pointers, _change_counts, _repeat_entries),
    _spoil_archive,
)


def _place(sound: Original, chance: random.Random) -> int:
    if chance.random() < 0.1:
        return chance.randrange(len(sound.data))
    return chance.choice(chance.choice(sound.structure))


def deep_originals(sound: Path) -> list[Original]:
    """Return models that LiteRT's own writer makes of one: with 300 subgraphs, with subgraphs that call each other in
    a circle, with one operator 9,000 times in a row, and run 1,000 times by a loop, which three others run in turn.
    """  # noqa: D205
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def packed(change: Any) -> bytes:
        model = schema.ModelT.InitFromPackedBuf(sound.read_bytes(), 0)
        change(model)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def many(model: Any) -> None:
        model.subgraphs = [model.subgraphs[0]] * 300

    def circle(model: Any) -> None:
        code, options = schema.OperatorCodeT(), schema.WhileOptionsT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.WHILE
        model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.builtinOptions = len(model.operatorCodes) - 1, options
        operator.builtinOptionsType = schema.BuiltinOptions.WhileOptions
        options.condSubgraphIndex = options.bodySubgraphIndex = 0
        operator.inputs = operator.outputs = list(model.subgraphs[0].outputs)
        model.subgraphs[0].operators.append(operator)

    def long(model: Any) -> None:
        model.subgraphs[0].operators = model.subgraphs[0].operators[:1] * 9_000

    made = {"subgraphs": many, "circle": circle, "long": long, "loops": lambda model: _in_loops(model, schema)}
    return [original(f"{name}.tflite", packed(change)) for name, change in made.items()]


def _in_loops(model: Any, schema: Any) -> None:
    """Put a model into the body of a loop that counts to 1,000, and that loop into others."""
    codes = {}
    for name in ("WHILE", "LESS", "ADD"):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        model.operatorCodes.append(code)
        codes[name] = len(model.operatorCodes) - 1

    def tensor(graph: Any, *, value: int | None = None, kind: int = schema.TensorType.INT32) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = f"count{len(graph.tensors)}", [], kind, 0
        if value is not None:
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = list(value.to_bytes(4, "little"))
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(graph: Any, name: str, inputs: list[int], output: int) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = codes[name], inputs, [output]
        graph.operators.append(made)
        return made

    body, condition = model.subgraphs[0], schema.SubGraphT()
    condition.tensors, condition.operators = [], []
    condition.inputs = [tensor(condition)]
    condition.outputs = [tensor(condition, kind=schema.TensorType.BOOL)]
    operator(condition, "LESS", [condition.inputs[0], tensor(condition, value=1000)], condition.outputs[0])
    graphs = [condition, body]
    for _ in range(3):
        counter, following = tensor(body), tensor(body)
        operator(body, "ADD", [counter, tensor(body, value=1)], following)
        body.inputs, body.outputs = [counter], [following]
        outer, options = schema.SubGraphT(), schema.WhileOptionsT()
        outer.tensors, outer.operators = [], []
        loop = operator(outer, "WHILE", [tensor(outer, value=0)], tensor(outer))
        options.condSubgraphIndex, options.bodySubgraphIndex = 1, len(graphs)
        loop.builtinOptions, loop.builtinOptionsType = options, schema.BuiltinOptions.WhileOptions
        outer.inputs, outer.outputs = [], list(loop.outputs)
        graphs.append(outer)
        body = outer
    # The first graph of a file is the one that is run: the outermost.
    model.subgraphs = [graphs.pop(), *graphs]
