"""A stand-in for Google's ``edgetpu_compiler`` 16: its flags, its file name, its log, and what it does to metadata.

It replaces the operators up to the first one of ``STAND_IN_STOPS_AT`` by ``edgetpu-custom-op``. ``STAND_IN_MODE``:
``fail`` says what the real one says of an operator it does not know, ``hang`` starts a child and waits for ever,
``nothing`` maps no operator.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from edge_runtime.analysis.graph import build_graph
from edge_runtime.model_file import parse_model

LOG = """
Model compiled successfully in 17 ms.

Input model: {source}
Input size: {size:.2f}KiB
Output model: {output}
Output size: {size:.2f}KiB
On-chip memory used for caching model parameters: 5.50KiB
On-chip memory remaining for caching model parameters: 7.15MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: {subgraphs}
Total number of operations: {total}
Operation log: {log}

Operator                       Count      Status

{rows}
Compilation child process completed within timeout period.
Compilation succeeded!
"""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-o", dest="folder", type=Path, required=True)
    parser.add_argument("model", type=Path)
    args = parser.parse_args()
    mode = os.environ.get("STAND_IN_MODE", "")
    print("Edge TPU Compiler version 16.0.384591198\nStarted a compilation timeout timer of 180 seconds.", flush=True)
    if mode == "hang":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)
    if mode == "fail":
        print("ERROR: Didn't find op for builtin opcode 'EXP' version '2'. An older version might be supported.\n")
        print(f"ERROR: Registration failed.\n\nInvalid model: {args.model}\nModel could not be parsed")
        return 1
    content = args.model.read_bytes()
    names = [node.name for node in build_graph(parse_model(content, "m")).nodes]
    stop = os.environ.get("STAND_IN_STOPS_AT", "")
    mapped = 0 if mode == "nothing" else names.index(stop) if stop in names else len(names)
    output = args.folder / f"{args.model.stem}_edgetpu.tflite"
    output.write_bytes(compiled(content, mapped))
    rows = [f"{name:<30} 1          Mapped to Edge TPU" for name in names[:mapped]]
    rows += [f"{name:<30} 1          More than one subgraph is not supported" for name in names[mapped:]]
    facts = {"source": args.model, "output": output, "size": len(content) / 1024, "log": output.with_suffix(".log")}
    print(LOG.format(**facts, subgraphs=int(mapped > 0), total=len(names), rows="\n".join(rows)))
    return 0


def compiled(content: bytes, mapped: int) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    model.metadata = None
    if mapped:
        graph = model.subgraphs[0]
        code, whole = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, b"edgetpu-custom-op"
        model.operatorCodes.append(code)
        whole.opcodeIndex = len(model.operatorCodes) - 1
        whole.inputs, whole.outputs = list(graph.inputs), list(graph.operators[mapped - 1].outputs)
        graph.operators = [whole, *graph.operators[mapped:]]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    sys.exit(main())
