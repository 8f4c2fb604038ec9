"""Which model this is: a digest of everything that decides what a direction in its hidden states means.

Collisions. Every part is a BLAKE3 digest of 256 bits; the weights are a tree of them (one for each
tensor, then one over names, types, shapes and these), which collides only where BLAKE3 itself does.
By chance, ``n`` models collide with probability ``n**2 / 2**257``; by design, finding a pair takes about
``2**128`` tries (O'Connor et al., BLAKE3, 2020). ``short`` (48 bits) is for names and messages alone:
among 10,000 artifacts some two share it with probability 2e-7, so compare ``digest`` where it counts.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from blake3 import blake3

from guardsteer.core.digests import digest_json, digest_parts
from guardsteer.errors import HostError
from guardsteer.host.blocks import find_layout

__all__ = ["Fingerprint", "difference", "fingerprint"]

# Below this size, threads cost more than they save.
_THREADED_BYTES = 1 << 20

# Keys of a config that say where it came from or how it is run, not what the weights compute.
_VOLATILE = frozenset({
    "name_or_path", "_name_or_path", "_commit_hash", "transformers_version", "architectures", "auto_map",
    "torch_dtype", "dtype", "use_cache", "attn_implementation", "_attn_implementation",
    "_attn_implementation_internal", "_experts_implementation", "experts_implementation",
    "_experts_implementation_internal", "return_dict", "output_hidden_states", "output_attentions",
    "torchscript", "id2label", "label2id", "problem_type", "chunk_size_feed_forward", "bos_token_id",
    "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "decoder_start_token_id",
    "base_model_name_or_path", "revision", "inference_mode",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The identity of a model and its tokenizer, part by part.

    ``config``, ``weights`` and ``tokenizer`` are digests; ``dtype`` names the types of the floating-point
    parameters, so that a model loaded in float32 and in bfloat16 are two models.
    """

    architecture: str
    config: str
    weights: str
    tokenizer: str
    dtype: str
    width: int
    n_blocks: int

    @property
    def digest(self) -> str:
        """Digest of all parts."""
        return digest_json(asdict(self))

    @property
    def short(self) -> str:
        """The first 12 hexadecimal digits of ``digest``, for names and messages."""
        return self.digest.removeprefix("b3:")[:12]

    def parts(self) -> dict[str, str]:
        """Return every part as text, by name."""
        return {name: str(value) for name, value in asdict(self).items()}


def difference(a: Fingerprint, b: Fingerprint) -> list[str]:
    """Return the names of the parts in which two fingerprints differ, in the order of the fields."""
    ours, theirs = a.parts(), b.parts()
    return [name for name in ours if ours[name] != theirs[name]]


def fingerprint(model: Any, tokenizer: Any, *, blocks: str | None = None) -> Fingerprint:
    """Return the fingerprint of a model and the tokenizer that makes its input.

    Covers every parameter and persistent buffer (name, type, shape, bytes; tied ones once), the
    config as far as it decides what is computed, adapters, and the tokenizer: vocabulary, rules,
    special tokens, chat template. Left out: where files came from, token ids that only generation
    uses, the attention kernel, padding and truncation settings, the device.
    ``blocks`` is the path of the blocks where it was given by hand.
    Raises ``LayoutError`` as ``find_layout`` does, ``HostError`` for weights without data or an
    unknown kind of tokenizer.
    """
    layout = find_layout(model, blocks=blocks)
    return Fingerprint(
        architecture=type(model).__name__,
        config=_config_digest(model),
        weights=_weights_digest(model),
        tokenizer=_tokenizer_digest(tokenizer),
        dtype=_dtype(model.parameters()),
        width=layout.width,
        n_blocks=layout.n_blocks,
    )


def _dtype(parameters: Iterable[torch.Tensor]) -> str:
    names = {str(p.dtype).removeprefix("torch.") for p in parameters if p.is_floating_point()}
    return "+".join(sorted(names))


def _config_digest(model: Any) -> str:
    config = model.config
    values = config.to_diff_dict() if hasattr(config, "to_diff_dict") else config.to_dict()
    adapters = getattr(model, "peft_config", None)
    if isinstance(adapters, Mapping):
        values = {**values, "adapters": {name: one.to_dict() for name, one in adapters.items()}}
    return digest_json(_stable(values))


def _stable(value: Any) -> Any:
    """Return ``value`` as plain JSON without volatile keys; sets are sorted, other objects written out."""
    if isinstance(value, Mapping):
        return {str(key): _stable(item) for key, item in value.items() if key not in _VOLATILE}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return [_stable(item) for item in value]
    if isinstance(value, float):
        return repr(value)
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _weights_digest(model: torch.nn.Module) -> str:
    parts: list[bytes] = []
    first_names: dict[tuple[Any, ...], str] = {}
    state = model.state_dict(keep_vars=True)
    for name in sorted(state):
        value = state[name]
        parts.append(name.encode())
        if not isinstance(value, torch.Tensor):
            parts.append(value.getvalue() if isinstance(value, io.BytesIO) else repr(value).encode())
            continue
        place = (value.data_ptr(), value.device, value.dtype, value.shape, value.stride())
        first = first_names.setdefault(place, name) if value.numel() else name
        parts.append(f"tied to {first}".encode() if first != name else _tensor_digest(name, value))
    return digest_parts(parts)


def _tensor_digest(name: str, tensor: torch.Tensor) -> bytes:
    if hasattr(tensor, "__tensor_flatten__") and type(tensor) is not torch.nn.Parameter:
        # A quantised tensor keeps its data in inner tensors.
        inner, context = tensor.__tensor_flatten__()
        digests = [_tensor_digest(f"{name}.{key}", getattr(tensor, key)) for key in inner]
        return b"".join([repr(context).encode(), *digests])
    if tensor.is_meta:
        raise HostError(f"{name} holds no data (meta device): load the whole model before guarding it")
    raw: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    threads = blake3.AUTO if raw.nbytes >= _THREADED_BYTES else 1
    header = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    return header + blake3(raw, max_threads=threads).digest()


def _tokenizer_digest(tokenizer: Any) -> str:
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    special = dict(getattr(tokenizer, "special_tokens_map", {}))
    # Many set it to eos on the way; padding is neither read nor steered.
    special.pop("pad_token", None)
    template = getattr(tokenizer, "chat_template", None)
    rest = json.dumps([_stable(special), _stable(template)], sort_keys=True)
    return digest_parts([*_vocabulary(tokenizer), rest.encode()])


def _vocabulary(tokenizer: Any) -> list[bytes]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        text: str = backend.to_str()
        # What comes before is the padding and truncation of the last call.
        return [text[max(text.find('"added_tokens":'), 0) :].encode()]
    if not callable(getattr(tokenizer, "get_vocab", None)):
        raise HostError(f"expected a tokenizer of transformers, got {type(tokenizer).__name__}")
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: (item[1], item[0]))
    merges = getattr(tokenizer, "bpe_ranks", None) or {}
    pieces = getattr(getattr(tokenizer, "sp_model", None), "serialized_model_proto", bytes)
    ordered = sorted(merges, key=merges.__getitem__) if isinstance(merges, Mapping) else list(merges)
    return [json.dumps([type(tokenizer).__name__, vocabulary, ordered]).encode(), pieces()]
