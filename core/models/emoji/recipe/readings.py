"""How a caption is read aloud: Chinese in pinyin and Japanese in kana, since espeak-ng knows no readings of characters.

(espeak-ng 1.51 reads pinyin that it looked up itself as if it were English.) Pinyin is from `pypinyin` (MIT), kana from
`janome` (Apache 2.0, with the dictionary of IPADIC); what they read wrongly stands in FIXED, as do the styles, which a
speaker of these languages says in sounds of his own. The other languages are read as they are written.
"""

import re
from functools import cache
from itertools import pairwise

Place = tuple[int, int]  # from and to, in a text
FIXED = {
    "zh": {"noto": "nuo4 tuo1", "twemoji": "tui1 mo2 ji2", "fluent": "fu2 lu2 en1 te4", "openmoji": "ou1 peng1 mo2 ji2",
           "t": "ti4", "长棍": "chang2 gun4", "匙": "chi2", "钥匙": "yao4 shi5"},
    "ja": {"noto": "ノト", "twemoji": "トゥエモジ", "fluent": "フルーエント", "openmoji": "オープンモジ", "ufo": "ユーフォー",
           "u字型": "ユージガタ", "環": "ワ", "白鳥": "ハクチョー", "四つ葉": "ヨツバ", "一匹": "イッピキ", "風": "フー",
           "描い": "カイ", "を": "オ"},
}  # fmt: skip
MARKS = str.maketrans({"，": ", ", "、": ", ", "：": ": ", "。": ". ", "？": "? "})


def spoken(caption: str, language: str, places: list[Place | None]) -> tuple[str, list[Place | None]]:
    """(what espeak-ng is to read, where the places of the caption are in it)"""
    if language not in FIXED:
        return caption, places
    cuts = sorted({0, len(caption), *(edge for place in places if place for edge in place)})
    text, moved = "", {}
    for start, end in pairwise(cuts):  # a name is read by itself, so that a word begins where it does
        moved[start] = len(text)
        text += read(caption[start:end], language) + " "
    moved[len(caption)] = len(text)
    return text, [place and (moved[place[0]], moved[place[1]]) for place in places]


@cache
def read(text: str, language: str) -> str:
    """Syllables of pinyin, or words of kana, with spaces between them."""
    fixed, pieces = FIXED[language], []
    by_length = sorted(fixed, key=len, reverse=True)
    for piece in re.split(f"({'|'.join(by_length)})", text, flags=re.IGNORECASE):
        pieces.append(fixed.get(piece.lower()) or looked_up(piece.translate(MARKS), language))
    return " ".join(piece.strip() for piece in pieces if piece.strip())


def looked_up(text: str, language: str) -> str:
    return in_pinyin(text) if language == "zh" else in_kana(text)


def in_pinyin(text: str) -> str:
    from pypinyin import Style, lazy_pinyin

    return " ".join(lazy_pinyin(text, style=Style.TONE3, neutral_tone_with_five=True))


def in_kana(text: str) -> str:
    """A particle or an ending is one word with what stands before it."""
    kana = ""
    for token in japanese().tokenize(text):
        follows = token.part_of_speech.startswith(("助詞", "助動詞", "記号")) or "接尾" in token.part_of_speech
        kana += ("" if follows else " ") + (token.surface if token.phonetic == "*" else token.phonetic)
    return kana


@cache
def japanese():
    from janome.tokenizer import Tokenizer

    return Tokenizer()
