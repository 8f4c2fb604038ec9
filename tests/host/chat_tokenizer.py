"""A small byte-level tokenizer, trained on the spot, and chat templates in the styles of many models."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

__all__ = ["MANGLING", "TEMPLATES", "chat_tokenizer"]

_SPECIAL = (
    "<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|system|>",
    "<start_of_turn>", "<end_of_turn>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "[INST]", "[/INST]",
)  # fmt: skip
_LINES = (
    "Hello, I was charged twice for the invoice. Can you help me?",
    "Of course. I am sorry for the trouble; the refund takes 7 days.",
    "You are a helpful assistant. Be brief and kind.",
    "Thank you very much, that was all. Goodbye!",
)

TEMPLATES = MappingProxyType({
    "chatml": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "chatml with a default system turn": (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}"
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "headers, trimmed": (
        "{{ '<s>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
        "m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "instructions, system merged into the user": (
        "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}"
        "{% set head = '<<SYS>>\n' + messages[0]['content'].strip() + '\n<</SYS>>\n\n' %}"
        "{% else %}{% set rest = messages %}{% set head = '' %}{% endif %}"
        "{% for m in rest %}{% if m['role'] == 'user' %}"
        "{{ '<s>[INST] ' + (head if loop.first else '') + m['content'].strip() + ' [/INST]' }}"
        "{% else %}{{ ' ' + m['content'].strip() + ' </s>' }}{% endif %}{% endfor %}"
    ),
    "another name for the assistant": (
        "{{ '<s>' }}{% for m in messages %}"
        "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    "thoughts taken out of earlier turns": (
        "{%- for m in messages %}{%- set content = m.content %}"
        "{%- if m.role == 'assistant' and '</think>' in content %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
        "{{- '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
    ),
    "tags for roles": (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '</s>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    ),
    "plain words": (
        "{% for m in messages %}{{ m['role'] | title }}: {{ m['content'] }}\n\n{% endfor %}"
        "{% if add_generation_prompt %}Assistant:{% endif %}"
    ),
    "upper case": (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] | upper }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    ),
    "json": (
        "{% for m in messages %}{{ m | tojson }}\n{% endfor %}"
        "{% if add_generation_prompt %}{{ '{\"role\": \"assistant\"' }}{% endif %}"
    ),
    "looks at how a content begins": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}"
        "{% if m['content'].startswith('Can') %}?{% endif %}"
        "{{ '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "marked": (
        "{%- for m in messages %}\n"
        "    {%- if m.role == 'assistant' %}\n"
        "        {{- '<|im_start|>assistant\n' }}\n"
        "        {%- generation %}\n"
        "            {{- m.content + '<|im_end|>' }}\n"
        "        {%- endgeneration %}\n"
        "        {{- '\n' }}\n"
        "    {%- else %}\n"
        "        {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}\n"
        "    {%- endif %}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n"
        "    {{- '<|im_start|>assistant\n' }}\n"
        "{%- endif %}\n"
    ),
    "marked, blocks on their own lines": (
        "{% for m in messages %}\n"
        "{% if m.role == 'assistant' %}\n"
        "<|assistant|>\n"
        "{% generation %}\n"
        "{{ m.content }}</s>\n"
        "{% endgeneration %}\n"
        "{% else %}\n"
        "<|{{ m.role }}|>\n"
        "{{ m.content }}</s>\n"
        "{% endif %}\n"
        "{% endfor %}\n"
        "{% if add_generation_prompt %}\n"
        "<|assistant|>\n"
        "{% endif %}\n"
    ),
})  # fmt: skip
"""Templates in which every turn can be located."""

MANGLING = MappingProxyType({
    "writes the length": "{% for m in messages %}{{ m.content | length }} {{ m.content }}\n{% endfor %}",
    "writes it twice": "{% for m in messages %}{{ m.role }} {{ m.content }} {{ m.content }}\n{% endfor %}",
    "turns it round": "{% for m in messages %}{{ m.role }} {{ m.content | reverse }}\n{% endfor %}",
    "cuts it": "{% for m in messages %}{{ m.role }} {{ m.content[:12] }}\n{% endfor %}",
})  # fmt: skip
"""Templates that change contents in ways that hide where they are."""


def chat_tokenizer(template: str | None = None, *, trim_offsets: bool = True) -> Any:
    """Return a tokenizer of 400 tokens with ``template``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[AddedToken(token, special=True) for token in _SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_LINES, trainer)
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=template,
    )
