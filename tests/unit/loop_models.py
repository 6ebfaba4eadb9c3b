"""Models with loops and branches, for the tests of the analysis."""

from analysis_models import ModelBuilder, schema

from edge_runtime.analysis.graph import Graph

CELLS = 8


def loop(
    *, start: int | None = 0, step: int = 1, limit: int | None = 10, compare: str = "LESS", both: bool = False
) -> ModelBuilder:
    """A recurrent product as converters write it: a counter and a state; without ``limit`` it is a variable."""
    main = ModelBuilder("float32")
    state = main.tensor([1, CELLS])
    first = main.number(start) if start is not None else main.tensor([], "int32")
    condition, body = main.another(), main.another()
    counter, _ = condition.tensor([], "int32"), condition.tensor([1, CELLS])
    bound = condition.number(limit) if limit is not None else condition.tensor([], "int32")
    going = condition.op(compare, [counter, bound], [], None, "bool")
    if both:
        other = condition.op("LESS", [counter, condition.number(1000)], [], None, "bool")
        going = condition.op("LOGICAL_AND", [other, going], [], None, "bool")
    ends = [0, 1] if limit is not None else [0, 1, bound]
    counting = condition.ends(ends, [going])
    counter, before = body.tensor([], "int32"), body.tensor([1, CELLS])
    kept = [body.tensor([], "int32")] if limit is None else []
    following = body.op("ADD", [counter, body.number(step)], [], schema.AddOptionsT(), "int32")
    after = body.fully_connected(before, CELLS)
    running = body.ends([counter, before, *kept], [following, after, *kept])
    inputs = [first, state] if limit is not None else [first, state, main.number(7)]
    made = main.control("WHILE", inputs, (counting, running), inputs)
    main.ends([state] if start is not None else [state, first], [made[1]])
    return main


def built(model: ModelBuilder) -> Graph:
    return model.build(model.graph.inputs, model.graph.outputs)


def branches(condition: int | None) -> Graph:
    """Products of 8 and of 16 outputs, of which one is run."""
    main = ModelBuilder("float32")
    fed = main.tensor([1, CELLS])
    numbers = []
    for units in (CELLS, 2 * CELLS):
        branch = main.another()
        inner = branch.tensor([1, CELLS])
        numbers.append(branch.ends([inner], [branch.fully_connected(inner, units)]))
    asked = main.tensor([], "bool") if condition is None else main.weights([], "bool")
    if condition is not None:
        main.model.buffers[main.graph.tensors[asked].buffer].data = [condition]
    (made,) = main.control("IF", [asked, fed], (numbers[0], numbers[1]), [fed])
    return main.build([fed] if condition is not None else [fed, asked], [made])


def nested() -> ModelBuilder:
    """A loop of 5 runs whose body runs a loop of 7, which has a product too."""
    model = loop(limit=5)
    condition, body = model.another(), model.another()
    comparing = condition.ends(
        [condition.tensor([], "int32")], [condition.op("LESS", [0, condition.number(7)], [], None, "bool")]
    )
    counter = body.tensor([], "int32")
    following = body.op("ADD", [counter, body.number(1)], [], schema.AddOptionsT(), "int32")
    fed = body.weights([1, CELLS])
    body.fully_connected(fed, CELLS)
    running = body.ends([counter], [following])
    middle = model.another()
    middle.graph = model.model.subgraphs[2]
    middle.control("WHILE", [middle.number(0)], (comparing, running), [0])
    return model
