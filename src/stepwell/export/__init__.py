"""Handing a model to other programs: the layout of transformers, and that of peft for an adapter alone."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.export.catalog import EXPORTERS
    from stepwell.export.harness import HarnessModel
    from stepwell.export.huggingface import export_hf
    from stepwell.export.peft import export_peft

__all__ = ["EXPORTERS", "HarnessModel", "export_hf", "export_peft"]

__getattr__ = open_late(
    __name__,
    {"EXPORTERS": "catalog", "HarnessModel": "harness", "export_hf": "huggingface", "export_peft": "peft"},
)
