"""From logits to the next token, for rows of different requests."""

from stepwell.inference.sampling.drawing import Drawn, adjust, distribution, draw, finite, told
from stepwell.inference.sampling.row import Sampling

__all__ = ["Drawn", "Sampling", "adjust", "distribution", "draw", "finite", "told"]
