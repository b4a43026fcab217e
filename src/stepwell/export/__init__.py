"""Handing a model to other programs: today the layout of transformers."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.export.huggingface import EXPORTERS, export_hf

__all__ = ["EXPORTERS", "export_hf"]

__getattr__ = open_late(__name__, dict.fromkeys(__all__, "huggingface"))
