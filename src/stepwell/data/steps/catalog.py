"""Every step by its kind. Adding one is a file with its settings and its class, and a row here.

This file leaves out the steps that are in every pipeline (`cutting.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from stepwell.data.steps.annotation.annotate import Annotate, AnnotateConfig
from stepwell.data.steps.augmentation.augment import Augment
from stepwell.data.steps.augmentation.augment_config import AugmentConfig
from stepwell.data.steps.balance.labels import Labels, LabelsConfig
from stepwell.data.steps.balance.mix import Mix, MixConfig
from stepwell.data.steps.balance.order import Order, OrderConfig
from stepwell.data.steps.balance.resample import Resample, ResampleConfig
from stepwell.data.steps.duplicates.decontaminate import Decontaminate, DecontaminateConfig
from stepwell.data.steps.duplicates.exact import Duplicates, DuplicatesConfig
from stepwell.data.steps.duplicates.near_duplicates import NearDuplicates, NearDuplicatesConfig
from stepwell.data.steps.duplicates.semantic_duplicates import SemanticDuplicates, SemanticDuplicatesConfig
from stepwell.data.steps.filters.judge import Judge, JudgeConfig
from stepwell.data.steps.filters.language import Language, LanguageConfig
from stepwell.data.steps.filters.perplexity import Perplexity, PerplexityConfig
from stepwell.data.steps.filters.quality import Quality, QualityConfig
from stepwell.data.steps.filters.selection import Selection, SelectionConfig
from stepwell.data.steps.protect.protecting import Protect, ProtectConfig
from stepwell.data.steps.repair.boilerplate import Boilerplate, BoilerplateConfig
from stepwell.data.steps.repair.clean import Clean, CleanConfig
from stepwell.data.steps.step import Step, StepConfig, Surroundings

AnyStepConfig = Annotated[
    CleanConfig
    | JudgeConfig
    | BoilerplateConfig
    | LanguageConfig
    | AnnotateConfig
    | SelectionConfig
    | PerplexityConfig
    | QualityConfig
    | ProtectConfig
    | DuplicatesConfig
    | NearDuplicatesConfig
    | SemanticDuplicatesConfig
    | AugmentConfig
    | DecontaminateConfig
    | LabelsConfig
    | ResampleConfig
    | MixConfig
    | OrderConfig,
    Field(discriminator="kind"),
]
"""The settings of any step."""

STEPS: dict[str, type[Step[Any]]] = {
    "clean": Clean,
    "boilerplate": Boilerplate,
    "language": Language,
    "protect": Protect,  # early: what a later step shows of a text it drops has masks in it
    "quality": Quality,
    "judge": Judge,
    "duplicates": Duplicates,
    "near_duplicates": NearDuplicates,
    "semantic_duplicates": SemanticDuplicates,
    "perplexity": Perplexity,
    "selection": Selection,
    "augment": Augment,
    "decontaminate": Decontaminate,  # what was made is looked at too
    "labels": Labels,
    "resample": Resample,
    "mix": Mix,
    "order": Order,
    "annotate": Annotate,
}
"""Kind -> class, in the order that fits most corpora."""


def build_steps(configs: Sequence[StepConfig], around: Surroundings) -> list[Step[Any]]:
    """The steps of a recipe that are enabled.

    Args:
        configs: their settings.
        around: what they may know beside these.
    """
    return [STEPS[config.kind](config, around) for config in configs if config.enabled]
