"""What the demo's support desk knows. The company, Quillbox, is invented.

Every kind of ticket has a *key* that decides the answer (a plan, a status code, a role) and a *context* that
does not (an item, a page, a space) but that the customer names.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from guardsteer.demo.corpus.account import ACCOUNT
from guardsteer.demo.corpus.billing import BILLING
from guardsteer.demo.corpus.kinds import Kind
from guardsteer.demo.corpus.technical import TECHNICAL

__all__ = ["KINDS", "KINDS_BY_NAME"]

KINDS: tuple[Kind, ...] = (*BILLING, *TECHNICAL, *ACCOUNT)
KINDS_BY_NAME: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in KINDS})
