"""Aliases under which children are introduced: drawn, never derived. The words are data, and so Chinese."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random, SystemRandom
from typing import Final

# Neutral words of nature, none of which is a surname or a given name's usual pair.
ALIAS_WORDS: Final = (
    "晨露", "松风", "竹影", "溪石", "山岚", "云帆", "秋实", "春芽", "湖光", "星河", "远山", "清泉", "青苔", "麦浪",
    "稻香", "银杏", "白桦", "芦苇", "蒲草", "海棠", "木棉", "茶花", "雨后", "初雪", "晚霞", "暖阳", "微光", "长河",
    "碧潭", "浅滩", "石桥", "古渡", "新月", "白鹭", "飞燕", "锦鲤", "蜻蜓", "蝉声", "雁阵", "萤火",
)  # fmt: skip
_NUMBERS: Final = range(1, 100)
_EVERY: Final = tuple(f"{word}{n:02d}" for word in ALIAS_WORDS for n in _NUMBERS)


def draw_alias(taken: Iterable[str], draw: Random | None = None) -> str:
    """A neutral alias that nobody in `taken` has; it knows nothing of the child."""
    used = set(taken)
    free = [alias for alias in _EVERY if alias not in used]
    return (draw or SystemRandom()).choice(free)


def drawn(alias: str) -> bool:
    """Does an alias look as if it had been drawn here?"""
    return alias[:2] in ALIAS_WORDS and alias[2:].isascii() and alias[2:].isdigit() and len(alias) == 4
