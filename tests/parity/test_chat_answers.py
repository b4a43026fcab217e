"""Which tokens of a conversation are the assistant's: against transformers' assistant masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.tokenizers import ByteBPEConfig, Tokenizer, conversational, encode_conversation, train_tokenizer

transformers = pytest.importorskip("transformers")

MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m['content'] + '<|im_end|>' }}"
    "{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""A template that says itself what the assistant wrote; transformers makes a mask of that."""


def test_as_transformers_marks_them(small_text: Callable[..., str], tmp_path: Path) -> None:
    config = ByteBPEConfig(vocab_size=500, special_tokens=("<|im_start|>", "<|im_end|>"))
    plain = train_tokenizer([small_text(num_bytes=10_000)], config)
    tokenizer: Tokenizer = conversational(plain.with_roles(plain.roles.model_copy(update={"chat_template": MARKED})))
    tokenizer.save(tmp_path / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    text = small_text(num_bytes=3_000)
    turns = [line for line in text.split("\n") if line.strip()][:8]
    for count in (2, 4, 8):
        messages = [
            {"role": ("user", "assistant")[n % 2], "content": turn.strip()} for n, turn in enumerate(turns[:count])
        ]
        read = theirs.apply_chat_template(
            messages, chat_template=MARKED, return_dict=True, return_assistant_tokens_mask=True
        )
        made = encode_conversation(tokenizer, messages)
        length = len(made.token_ids)
        ours = [any(begin <= n < end for begin, end in made.answers) for n in range(length)]
        assert made.token_ids.tolist() == read["input_ids"][:length]
        assert ours == [bool(one) for one in read["assistant_masks"][:length]]
        assert not any(read["assistant_masks"][length:])
