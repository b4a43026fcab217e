"""A model on disk: weights, config, tokenizer and where it came from; and the models of other projects."""

from typing import TYPE_CHECKING

from stepwell.doors import open_late

if TYPE_CHECKING:
    from stepwell.checkpoints.adapter_files import Adapter, adapter_of, put_in, read_adapter, write_adapter
    from stepwell.checkpoints.adapter_sets import AdapterSet, find_adapter, merge
    from stepwell.checkpoints.extending import extend_checkpoint
    from stepwell.checkpoints.foreign import ForeignModel, ForeignTensors, read_foreign
    from stepwell.checkpoints.huggingface.encoder_decoders import TARGETS
    from stepwell.checkpoints.huggingface.families import FAMILIES
    from stepwell.checkpoints.huggingface.family import ForeignFamily, Rule
    from stepwell.checkpoints.importing import Imported, import_model, import_weights
    from stepwell.checkpoints.parity import (
        AUTO_CLASSES,
        Parity,
        auto_class,
        build_reference,
        load_reference,
        measure_parity,
        why_not_measured,
    )
    from stepwell.checkpoints.peft import PEFT_CONFIG, PEFT_WEIGHTS, read_peft, to_peft
    from stepwell.checkpoints.sharded import read_shards, sizes_in, write_shards
    from stepwell.checkpoints.store import (
        MANIFEST,
        WEIGHTS,
        Loaded,
        Snapshot,
        checkpoint_step,
        load_checkpoint,
        newest_good,
        prune,
        read_config,
        read_optimizer,
        read_provenance,
        read_tokenizer,
        read_trainer,
        read_weights,
        refuse_adapter,
        resolve_checkpoint,
        save_checkpoint,
        take_snapshot,
        verify,
        write_snapshot,
    )
    from stepwell.checkpoints.writing import Writer

_FILES = {
    "adapter_sets": ("AdapterSet", "find_adapter", "merge"),
    "adapter_files": ("Adapter", "adapter_of", "put_in", "read_adapter", "write_adapter"),
    "extending": ("extend_checkpoint",),
    "foreign": ("ForeignModel", "ForeignTensors", "read_foreign"),
    "huggingface.encoder_decoders": ("TARGETS",),
    "huggingface.families": ("FAMILIES",),
    "huggingface.family": ("ForeignFamily", "Rule"),
    "importing": ("Imported", "import_model", "import_weights"),
    "parity": (
        "AUTO_CLASSES",
        "Parity",
        "auto_class",
        "build_reference",
        "load_reference",
        "measure_parity",
        "why_not_measured",
    ),
    "peft": ("PEFT_CONFIG", "PEFT_WEIGHTS", "read_peft", "to_peft"),
    "sharded": ("read_shards", "sizes_in", "write_shards"),
    "store": (
        "MANIFEST",
        "WEIGHTS",
        "Loaded",
        "Snapshot",
        "checkpoint_step",
        "load_checkpoint",
        "newest_good",
        "prune",
        "refuse_adapter",
        "read_config",
        "read_optimizer",
        "read_provenance",
        "read_tokenizer",
        "read_trainer",
        "read_weights",
        "resolve_checkpoint",
        "save_checkpoint",
        "take_snapshot",
        "verify",
        "write_snapshot",
    ),
    "writing": ("Writer",),
}

__all__ = [
    "AUTO_CLASSES",
    "FAMILIES",
    "MANIFEST",
    "PEFT_CONFIG",
    "PEFT_WEIGHTS",
    "TARGETS",
    "WEIGHTS",
    "Adapter",
    "AdapterSet",
    "ForeignFamily",
    "ForeignModel",
    "ForeignTensors",
    "Imported",
    "Loaded",
    "Parity",
    "Rule",
    "Snapshot",
    "Writer",
    "adapter_of",
    "auto_class",
    "build_reference",
    "checkpoint_step",
    "extend_checkpoint",
    "find_adapter",
    "import_model",
    "import_weights",
    "load_checkpoint",
    "load_reference",
    "measure_parity",
    "merge",
    "newest_good",
    "prune",
    "put_in",
    "read_adapter",
    "read_config",
    "read_foreign",
    "read_optimizer",
    "read_peft",
    "read_provenance",
    "read_shards",
    "read_tokenizer",
    "read_trainer",
    "read_weights",
    "refuse_adapter",
    "resolve_checkpoint",
    "save_checkpoint",
    "sizes_in",
    "take_snapshot",
    "to_peft",
    "verify",
    "why_not_measured",
    "write_adapter",
    "write_shards",
    "write_snapshot",
]

__getattr__ = open_late(__name__, {name: file for file, names in _FILES.items() for name in names})
