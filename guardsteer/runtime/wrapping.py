"""Put a guard on a model: find its parts, load what the policy names, check that steering works."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from guardsteer import __version__
from guardsteer.assets import Catalog
from guardsteer.audit import Journal, open_journal
from guardsteer.audit.text import SubjectKeys, TextStore, check_apart, open_text_store
from guardsteer.classify import Probe
from guardsteer.classify.callables import check_given
from guardsteer.core.policy import Binding, Policy
from guardsteer.core.signals import TextClassifier
from guardsteer.errors import AuditError, PolicyError
from guardsteer.host import check_model, find_layout, fingerprint
from guardsteer.rules.rollout import in_shadow
from guardsteer.rules.signing_keys import read_private
from guardsteer.runtime.auditing import Auditor
from guardsteer.runtime.building import Builder
from guardsteer.runtime.guard import Guard
from guardsteer.runtime.keeping import Keeper
from guardsteer.runtime.provenance import surroundings_of
from guardsteer.steer import Vector
from guardsteer.telemetry import Feed, Observer, check_observers

__all__ = ["SIGNING_KEY_VARIABLE", "wrap"]

SIGNING_KEY_VARIABLE = "GUARDSTEER_AUDIT_SIGNING_KEY_FILE"
"""Environment variable that names the private key which vouches for the audit logs opened by ``wrap``."""


def wrap(
    model: Any,
    tokenizer: Any,
    *,
    policy: Policy | str | Path,
    audit: Journal | str | Path | None = None,
    audit_text: TextStore | str | Path | None = None,
    blocks: str | None = None,
    assets: Sequence[Path | str] = (),
    vectors: Mapping[str, Vector] | None = None,
    classifiers: Mapping[str, TextClassifier | Probe] | None = None,
    stop_file: str | Path | None = None,
    binding: Binding | str | Path | None = None,
    candidates: Mapping[str, Policy | str | Path] | None = None,
    trusted: str | Path | None = None,
    observers: Sequence[Observer] = (),
) -> Guard:
    """Put ``model`` under ``policy`` and return the guard; the weights are never touched.

    ``policy`` is a YAML file, a folder that holds ``policy.yaml``, the name of one that ships, or a
    loaded policy. ``audit`` is the
    folder of the log, or an open journal to share; None keeps no log. ``audit_text`` keeps the text of
    requests too, encrypted in side files of the log: the folder of the subjects' keys, or an open store
    to share; None keeps none. ``blocks`` names the list of decoder
    blocks (``"model.layers"``) where it is not found by itself. ``assets`` are folders to look for
    classifiers and vectors in before those that ship. ``vectors`` and ``classifiers`` give
    some of what the policy names as objects, instead of loading it. ``stop_file``: while this file
    exists, nothing is steered (see ``Guard.stop``).

    ``binding``, or a file that holds one, stands in the place of the policy's own; the same goes for
    policies that are adopted later. ``candidates`` are policies by name that run beside it in shadow: on the
    same requests, with no effect but what the audit tells of them. With ``trusted``, a public key or a
    folder of them, policies and binding files are loaded only if one of these keys signed them.
    ``observers`` are told what the audit is told, as it happens: ``guardsteer.telemetry`` has some.

    Raises ``PolicyError``, ``AssetError``, ``ClassifierError`` (an object that is no classifier; a function
    becomes one by ``guardsteer.classify.from_callable``), ``BindingError`` (a vector of another model),
    ``LayoutError``, ``UnsupportedError`` and ``HostError`` (a hook without effect downstream); the model is
    then as it was.
    """
    check_observers(observers)
    check_model(model)
    check_given(classifiers or {})
    layout = find_layout(model, blocks=blocks)
    builder = Builder(
        model=model,
        tokenizer=tokenizer,
        layout=layout,
        fingerprint=fingerprint(model, tokenizer, blocks=blocks),
        catalog=Catalog([Path(root) for root in assets]),
        vectors=vectors or {},
        classifiers=classifiers or {},
        trusted=None if trusted is None else Path(trusted),
        explain=audit is not None,
    )
    beside = {
        name: builder.build(_in_shadow(builder.policy(given))) for name, given in _named(candidates or {})
    }
    bound = Path(binding) if isinstance(binding, str) else binding
    builder = replace(builder, binding=bound, candidates=beside)
    kit = builder.build(builder.policy(policy))
    journal = audit if isinstance(audit, Journal) or audit is None else _open_journal(Path(audit))
    try:
        texts = _text_store(audit_text, journal)
    except AuditError:
        if journal is not None and journal is not audit:
            journal.close()
        raise
    auditor = Auditor(
        journal,
        kit,
        owned=journal is not audit,
        library=__version__,
        surroundings=surroundings_of(model),
        keeper=None if texts is None else Keeper(texts, tokenizer),
        owns_texts=texts is not audit_text,
        feed=Feed(observers, journal) if observers else None,
    )
    return Guard(builder, kit, auditor, stop_file=None if stop_file is None else Path(stop_file))


def _open_journal(directory: Path) -> Journal:
    named = os.environ.get(SIGNING_KEY_VARIABLE)
    return open_journal(directory, signing_key=read_private(Path(named)) if named else None)


def _text_store(given: TextStore | str | Path | None, journal: Journal | None) -> TextStore | None:
    if given is None:
        return None
    if journal is None:
        raise AuditError("audit_text keeps text beside a log, and there is none; give audit=FOLDER too")
    if not isinstance(given, TextStore):
        # Before the folder is made.
        check_apart(journal.directory, Path(given))
        return open_text_store(journal, SubjectKeys(given))
    if given.journal is not journal:
        raise AuditError(
            f"audit_text records what it keeps in {given.journal.directory}, and audit is another log; give "
            "the journal that the store was opened with"
        )
    return given


def _named(
    candidates: Mapping[str, Policy | str | Path],
) -> list[tuple[str, Policy | str | Path]]:
    if "" in candidates:
        raise PolicyError("a candidate needs a name, by which the audit tells it from the policy in force")
    return list(candidates.items())


def _in_shadow(candidate: Policy) -> Policy:
    return replace(candidate, binding=in_shadow(candidate.binding))
