"""How much two float networks may differ by rounding alone: as much as the source from itself with other last bits.

Two runtimes add up in different orders, which is as if every weight and every input differed in its last bit. Most
networks pass that on as it is and agree to 100 dB and more. Some magnify it: where features of all inputs are nearly
the same and the last layer multiplies their small differences up. How much is measured on the source itself.
"""

from typing import Final

import numpy as np

from converters.arrays import Array

SAME_NETWORK_DB: Final = 90.0
"""A float network rewritten for another runtime differs by rounding only; 108 dB is the least seen of a right one that
magnifies nothing. Better needs no further proof."""
LEAST_DB: Final = 50.0
"""Below it float32's own answers are worth too little to be compared with, whatever the reason."""
MARGIN_DB: Final = 10.0
"""How much worse than the disturbed source a float model may be: both are single draws of a random error, and 5 dB were
the most seen of right ones (MobileNetV2, V3-Small, EfficientNetV2-B0 with statistics of pictures)."""
DRAWS: Final = 2
_LAST_BIT: Final = 2.0**-23


def disturbed(values: Array, generator: np.random.Generator) -> Array:
    """Return float32 values each of which differs by up to one unit in its last place."""
    factor = 1.0 + generator.uniform(-_LAST_BIT, _LAST_BIT, np.shape(values))
    return np.asarray(np.asarray(values, np.float64) * factor, np.float32)


def explains(found_db: float, own_db: float) -> bool:
    """Whether a difference is the source's own rounding: ``own_db`` is how far it is from itself, disturbed."""
    return own_db >= LEAST_DB and found_db >= max(LEAST_DB, min(SAME_NETWORK_DB, own_db - MARGIN_DB))
