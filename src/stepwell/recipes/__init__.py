"""The recipe file, and what is derived when the user says nothing."""

from stepwell.recipes.derive import (
    MAX_SEQ_LEN,
    MEASUREMENTS,
    Plan,
    choose_plan,
    derive_dropout,
    derive_from_checkpoint,
    derive_model,
    derive_tokenizer,
    derive_training,
    fitting_rows,
    plan_for_tokens,
    predicted_loss,
    train_defaults,
)
from stepwell.recipes.draft import Draft, begin_draft, data_section, read_recipe_file, write_recipe
from stepwell.recipes.presets import PRESETS
from stepwell.recipes.recipe import ALTERABLE, Recipe, StudyConfig, fit_steps

__all__ = [
    "ALTERABLE",
    "MAX_SEQ_LEN",
    "MEASUREMENTS",
    "PRESETS",
    "Draft",
    "Plan",
    "Recipe",
    "StudyConfig",
    "begin_draft",
    "choose_plan",
    "data_section",
    "derive_dropout",
    "derive_from_checkpoint",
    "derive_model",
    "derive_tokenizer",
    "derive_training",
    "fit_steps",
    "fitting_rows",
    "plan_for_tokens",
    "predicted_loss",
    "read_recipe_file",
    "train_defaults",
    "write_recipe",
]
