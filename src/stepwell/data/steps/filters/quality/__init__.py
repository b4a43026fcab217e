"""Rules of quality for English and Chinese text: Gopher's, C4's and FineWeb's."""

from stepwell.data.steps.filters.quality.config import QualityConfig
from stepwell.data.steps.filters.quality.filter import Quality

__all__ = ["Quality", "QualityConfig"]
