"""A prediction as it comes from the child that made it; apart, so that the daemon does not load the analysis."""

import msgspec


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction for one invoke; everything is None where the machine has no profile or the model is compiled."""

    profile: str | None = None
    predicted_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    plain_ms: float | None = None
    """Without XNNPACK."""
