"""What a prediction of latency is: the work of every operator, its time, and the whole with its interval."""

from dataclasses import dataclass
from typing import Literal

from edge_runtime.analysis.profile import ElementType

Kind = Literal["dense", "window", "transposed", "depthwise", "values", "nothing"]


@dataclass(frozen=True, slots=True)
class Work:
    """What one operator asks of a kernel."""

    kind: Kind
    type: ElementType
    delegated: bool
    """Whether XNNPACK runs it."""
    macs: int
    channels: int
    """Output channels; a kernel rounds them up to whole groups. 0 where there is nothing to round."""
    depth: int
    """Input channels that are summed at a time, likewise."""
    bytes_moved: int
    weight_bytes: int
    """Of constants; part of ``bytes_moved``."""
    model_weight_bytes: int
    """Of all constants of the model: beyond a cache they come from memory in every inference."""
    values: int
    weight: float
    """How much more a value of this operator costs than a usual one."""
    overhead: float = 1.0
    """The share of the kernel's overhead that it has: less where it is repeated."""


@dataclass(frozen=True, slots=True)
class NodeLatency:
    """One operator's predicted time."""

    work: Work
    ms: float
    """Among the others."""
    alone_ms: float
    """As an inference of its own, which is what ``bench --layers`` measures."""
    known: bool = False
    """Whether this very operator was measured on the device."""
    inside: tuple[tuple[int, "Latency"], ...] = ()
    """What it runs of other graphs of the file, and how often; ``ms`` has it in it."""

    @property
    def works(self) -> tuple[tuple[int, Work], ...]:
        """Return the work of the operator itself and of all that it runs, with how often each is done."""
        runs = ((times * each, work) for times, latency in self.inside for each, work in latency.works)
        return ((1, self.work), *runs)

    @property
    def undelegated_ms(self) -> float:
        """Return the part of ``ms`` that XNNPACK does not take."""
        if not self.inside:
            return 0.0 if self.work.delegated else self.ms
        whole = sum(times * latency.ms for times, latency in self.inside)
        plain = sum(times * latency.undelegated_ms for times, latency in self.inside)
        return self.ms * plain / whole if whole else self.ms


@dataclass(frozen=True, slots=True)
class Latency:
    """A prediction for one inference, with the interval it is meant to lie in."""

    profile: str
    threads: int
    ms: float
    low_ms: float
    high_ms: float
    nodes: tuple[NodeLatency, ...]
    call_ms: float = 0.0
    """The part of ``ms`` that goes into setting inputs and reading outputs; 0 where it was not measured."""
    unknown: str | None = None
    """Why nothing can be said but that it takes longer than ``low_ms``; ``ms`` is then of what was counted."""

    @property
    def undelegated_ms(self) -> float:
        """Return the part of the time that goes into operators XNNPACK does not take."""
        return sum(node.undelegated_ms for node in self.nodes)

    @property
    def works(self) -> tuple[tuple[int, Work], ...]:
        """Return the work of every operator, those of graphs that it runs too, with how often it is done."""
        return tuple(each for node in self.nodes for each in node.works)
