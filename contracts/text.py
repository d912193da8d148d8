"""Words for people, in both languages."""

import msgspec


class Text(msgspec.Struct, frozen=True):
    """The same words for a reader of Chinese and of English."""

    zh: str
    en: str
