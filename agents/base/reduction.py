"""What is left of a record for someone who may not see it whole: fewer fields, and masks."""

import hmac
from collections.abc import Callable, Collection, Mapping
from typing import Any

from contracts.model import Mask


class Reduction:
    """Leaves ``fields`` of a record, all when empty, and puts masks on those in ``mask``.

    ``hash`` masks are keyed by ``secret`` and by ``to``, whoever is given the record: two of them cannot
    join their data by the hashes.
    """

    def __init__(
        self, fields: Collection[str], mask: Mapping[str, Mask], *, to: str, secret: str
    ) -> None:
        self._fields = frozenset(fields)
        self._masks = {
            field: _MASKS.get(kind) or _hashed(f"{secret}\0{to}") for field, kind in mask.items()
        }

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """What of ``record`` is given."""
        kept = {
            name: value
            for name, value in record.items()
            if not self._fields or name in self._fields
        }
        for name, mask in self._masks.items():
            if kept.get(name) is not None:
                kept[name] = mask(kept[name])
        return kept


def _last4(value: Any) -> str:
    text = str(value)
    return "*" * (len(text) - 4) + text[-4:] if len(text) > 4 else "*" * len(text)


def _hashed(key: str) -> Callable[[Any], str]:
    secret = key.encode()
    return lambda value: hmac.digest(secret, str(value).encode(), "sha256").hex()[:32]


_MASKS: dict[str, Callable[[Any], Any]] = {
    "last4": _last4,
    "year": lambda value: str(value)[:4],
    "null": lambda value: None,
}
