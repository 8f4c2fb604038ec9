"""Products of hidden states with directions: in one compiled call where the extension could be built.

For states in float32 on the processor. The sum is one of doubles, in an order that depends on nothing but the
width: a row's is the same alone and in any batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from guardsteer.host._products import Exchange

__all__ = ["EXCHANGE", "VERSION", "find_exchange"]

VERSION = 1
"""The extension's has to be the same: one that was built from an older source is left aside."""


def find_exchange() -> Exchange | None:
    """Return what takes products; None without the extension, or with a torch that has no DLPack table."""
    try:
        from guardsteer.host import _products
    except ImportError:
        return None
    table: Any = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    if table is None or _products.VERSION != VERSION:
        return None
    try:
        return _products.Exchange(table, Tensor)
    except ValueError:
        # Another major version of DLPack's: its tables are laid out otherwise.
        return None


EXCHANGE = find_exchange()
"""The one that is in use, None where torch does it."""
