"""The tokenizer that a run begins with where the recipe names several: they are compared on held-out text.

What they cost is seconds, where a round of training costs minutes; rounds can still try others (`study.levers`). This
file leaves out how they are compared (`data.tokens.comparing`).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import TypeAdapter

from stepwell.config import build
from stepwell.data import PreparedText, TokenizerFigures, choose_tokenizer, compare_tokenizers
from stepwell.progress import Fact, Stage, Watcher
from stepwell.recipes import Draft, StudyConfig
from stepwell.runs import RunDirectory, to_json, write_atomically

_FIGURES = TypeAdapter(list[TokenizerFigures])


def choose_vocabulary(
    draft: Draft, text: PreparedText, run: RunDirectory, watch: Watcher
) -> tuple[Draft, list[dict[str, Any]]]:
    """Compare what `study.tokenizers` names and take the best over, unless the recipe has a tokenizer already.

    Args:
        draft: what the user said.
        text: what they are trained on, and compared on.
        run: where the figures are kept, so that they are counted once.
        watch: gets the events.

    Returns:
        The draft with the chosen tokenizer, and the figures of each as plain values, the chosen one marked.

    Raises:
        DataError: when nothing is held out.
        TokenizerError: when one of them cannot be trained.
    """
    study = build(StudyConfig, draft.get("study") or {}, where="recipe: study")
    if not study.tokenizers:
        return draft, []
    if draft.get("init_from") or draft.get("tokenizer.kind") or draft.get("tokenizer.vocab_size"):
        watch(Fact("study.tokenizers: none are compared, for the recipe says which tokenizer it wants"))
        return draft, []
    made_from = [[config.model_dump(mode="json") for config in study.tokenizers], text.key]
    path = run.tokenizers / f"compared-{hashlib.sha256(to_json(made_from).encode()).hexdigest()[:16]}.json"
    try:
        figures = _FIGURES.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        watch(Stage("comparing tokenizers", f"{len(study.tokenizers)} on held-out text"))
        figures = compare_tokenizers(text, study.tokenizers)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _FIGURES.dump_json(figures).decode())
    chosen = choose_tokenizer(figures)
    rare = f"{chosen.rare_ratio:.0%} of it rare"
    words = f"{chosen.name} of {chosen.vocab_size:,}, {chosen.whole.bytes_per_token:.2f} bytes a token, {rare}"
    watch(Fact(f"of {len(figures)} tokenizers: {words}"))
    reason = f"the best of {len(figures)} compared on held-out text: {words}"
    draft = draft.with_derived({f"tokenizer.{name}": (value, reason) for name, value in chosen.config.items()})
    return draft, [one.as_dict() | {"chosen": one is chosen} for one in figures]
