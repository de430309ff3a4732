"""Phrases of several things: "three apples", "a cat left of a dog", "add a dog"; in eight languages.

{o} one thing, {p} more of it; {a} the first thing (left, top), {b} the second one, with or without an article;
{ag}, {bg} their genitives and {ai}, {bi} their instrumentals (Russian).
"""

import random
from dataclasses import dataclass

from data import Layout

ARTICLES = {
    "en": ["a ", "a ", "the ", ""], "de": ["ein ", "eine ", "einem ", "einer ", "einen ", "", ""],
    "fr": ["un ", "une ", "", ""], "es": ["un ", "una ", "", ""], "vi": ["một ", "con ", "", ""],
    "zh": ["", "", "一个", "一只"], "ja": [""], "ru": [""],
}  # fmt: skip
COUNTS = {
    "en": {Layout.TWO: ["two {p}", "two {p}", "2 {p}", "a pair of {p}", "a couple of {p}"], Layout.THREE: ["three {p}", "three {p}", "3 {p}"]},
    "zh": {Layout.TWO: ["两个{o}", "两只{o}", "2个{o}", "两颗{o}", "两朵{o}", "两辆{o}"], Layout.THREE: ["三个{o}", "三只{o}", "3个{o}", "三颗{o}", "三朵{o}"]},
    "de": {Layout.TWO: ["zwei {p}", "zwei {p}", "2 {p}", "zwei Stück {o}"], Layout.THREE: ["drei {p}", "drei {p}", "3 {p}"]},
    "fr": {Layout.TWO: ["deux {p}", "deux {p}", "2 {p}"], Layout.THREE: ["trois {p}", "trois {p}", "3 {p}"]},
    "ja": {Layout.TWO: ["二つの{o}", "2つの{o}", "二匹の{o}", "{o}を二つ", "{o}2個", "二個の{o}"],
           Layout.THREE: ["三つの{o}", "3つの{o}", "三匹の{o}", "{o}を三つ", "{o}3個", "三個の{o}"]},
    "es": {Layout.TWO: ["dos {p}", "dos {p}", "2 {p}"], Layout.THREE: ["tres {p}", "tres {p}", "3 {p}"]},
    "ru": {Layout.TWO: ["два {p}", "две {p}", "2 {p}"], Layout.THREE: ["три {p}", "три {p}", "3 {p}"]},
    "vi": {Layout.TWO: ["hai {o}", "hai con {o}", "hai quả {o}", "2 {o}", "hai cái {o}"],
           Layout.THREE: ["ba {o}", "ba con {o}", "ba quả {o}", "3 {o}", "ba cái {o}"]},
}  # fmt: skip
PAIRS = {
    "en": {Layout.BESIDE: ["{a} left of {b}", "{a} to the left of {b}", "{b} right of {a}", "{b} to the right of {a}", "{a} and {b}", "{a} and {b}",
                           "{a} next to {b}", "{a} with {b}", "{a} on the left and {b} on the right", "left {a}, right {b}"],
           Layout.ABOVE: ["{a} above {b}", "{a} over {b}", "{a} on top of {b}", "{b} under {a}", "{b} below {a}", "{b} beneath {a}",
                          "{a} at the top and {b} at the bottom"]},
    "zh": {Layout.BESIDE: ["{b}左边的{a}", "{a}在{b}左边", "{a}在{b}的左边", "{b}在{a}右边", "{a}右边的{b}", "{a}和{b}", "{a}与{b}", "{a}旁边有{b}", "左边是{a}，右边是{b}"],
           Layout.ABOVE: ["{a}在{b}上面", "{b}上面的{a}", "{b}在{a}下面", "{a}下面的{b}", "{b}上方的{a}", "上面是{a}，下面是{b}"]},
    "de": {Layout.BESIDE: ["{a} links von {b}", "{b} rechts von {a}", "{a} und {b}", "{a} und {b}", "{a} neben {b}", "{a} mit {b}", "links {a}, rechts {b}"],
           Layout.ABOVE: ["{a} über {b}", "{a} auf {b}", "{b} unter {a}", "{b} unterhalb von {a}", "oben {a}, unten {b}"]},
    "fr": {Layout.BESIDE: ["{a} à gauche de {b}", "{a} à gauche d'{b}", "{b} à droite de {a}", "{b} à droite d'{a}", "{a} et {b}", "{a} et {b}",
                           "{a} à côté de {b}", "{a} avec {b}", "à gauche {a}, à droite {b}"],
           Layout.ABOVE: ["{a} au-dessus de {b}", "{a} au-dessus d'{b}", "{b} sous {a}", "{b} en dessous de {a}", "en haut {a}, en bas {b}"]},
    "ja": {Layout.BESIDE: ["{b}の左に{a}", "{b}の左の{a}", "{a}の右に{b}", "{a}の右の{b}", "{a}と{b}", "{a}と{b}", "左に{a}、右に{b}", "{b}の左側に{a}"],
           Layout.ABOVE: ["{b}の上に{a}", "{b}の上の{a}", "{a}の下に{b}", "{a}の下の{b}", "上に{a}、下に{b}"]},
    "es": {Layout.BESIDE: ["{a} a la izquierda de {b}", "{b} a la derecha de {a}", "{a} y {b}", "{a} y {b}", "{a} junto a {b}", "{a} al lado de {b}",
                           "{a} con {b}", "a la izquierda {a}, a la derecha {b}"],
           Layout.ABOVE: ["{a} encima de {b}", "{a} sobre {b}", "{b} debajo de {a}", "{b} bajo {a}", "arriba {a}, abajo {b}"]},
    "ru": {Layout.BESIDE: ["{a} слева от {bg}", "{b} справа от {ag}", "{a} и {b}", "{a} и {b}", "{a} рядом с {bi}", "{a} с {bi}", "слева {a}, справа {b}"],
           Layout.ABOVE: ["{a} над {bi}", "{b} под {ai}", "{a} сверху, {b} снизу", "сверху {a}, снизу {b}"]},
    "vi": {Layout.BESIDE: ["{a} bên trái {b}", "{a} ở bên trái {b}", "{b} bên phải {a}", "{a} và {b}", "{a} và {b}", "{a} cạnh {b}", "{a} với {b}",
                           "bên trái là {a}, bên phải là {b}"],
           Layout.ABOVE: ["{a} ở trên {b}", "{a} phía trên {b}", "{b} dưới {a}", "{b} ở dưới {a}", "trên là {a}, dưới là {b}"]},
}  # fmt: skip
# Never trained on.
HELD_OUT = {
    "en": {Layout.BESIDE: "{a} on the left side of {b}", Layout.ABOVE: "{b} underneath {a}", Layout.TWO: "{p}, two of them", Layout.THREE: "a group of three {p}"},
    "zh": {Layout.BESIDE: "{b}的左侧有{a}", Layout.ABOVE: "{b}的上方是{a}", Layout.TWO: "{o}两个", Layout.THREE: "一共三个{o}"},
    "de": {Layout.BESIDE: "{a}, rechts davon {b}", Layout.ABOVE: "{a} oberhalb von {b}", Layout.TWO: "genau zwei {p}", Layout.THREE: "eine Gruppe von drei {p}"},
    "fr": {Layout.BESIDE: "{a} sur la gauche de {b}", Layout.ABOVE: "{b} au-dessous de {a}", Layout.TWO: "une paire : deux {p}", Layout.THREE: "un groupe de trois {p}"},
    "ja": {Layout.BESIDE: "{a}の右側に{b}", Layout.ABOVE: "{b}の真上に{a}", Layout.TWO: "{o}が二つ", Layout.THREE: "{o}が三つ"},
    "es": {Layout.BESIDE: "{a} a mano izquierda de {b}", Layout.ABOVE: "{b} por debajo de {a}", Layout.TWO: "un par: dos {p}", Layout.THREE: "un grupo de tres {p}"},
    "ru": {Layout.BESIDE: "{a} по левую сторону от {bg}", Layout.ABOVE: "{b} находится под {ai}", Layout.TWO: "ровно два {p}", Layout.THREE: "всего три {p}"},
    "vi": {Layout.BESIDE: "{a} nằm bên trái {b}", Layout.ABOVE: "{b} nằm dưới {a}", Layout.TWO: "có hai {o}", Layout.THREE: "nhóm ba {o}"},
}  # fmt: skip
# In a conversation, about a picture of one thing: another one comes beside it (ONE: to its right), or more of it.
ADDITIONS = {
    "en": {"right": ["add {b}", "add {b} to it", "and {b}", "with {b}", "put {b} next to it", "put {b} on the right", "add {b} on the right"],
           "left": ["put {b} on the left", "add {b} on the left", "add {b} to its left"],
           "below": ["put {b} below", "add {b} below it", "put {b} under it"], "above": ["put {b} above", "add {b} above it", "put {b} on top"]},
    "zh": {"right": ["加上{b}", "再加一个{b}", "旁边放{b}", "右边加{b}"], "left": ["左边加{b}", "在左边放{b}"],
           "below": ["下面加{b}", "在下面放{b}"], "above": ["上面加{b}", "在上面放{b}"]},
    "de": {"right": ["füge {b} hinzu", "dazu {b}", "mit {b}", "und {b}", "rechts {b}", "daneben {b}"], "left": ["links {b}", "füge links {b} hinzu"],
           "below": ["darunter {b}", "unten {b}"], "above": ["darüber {b}", "oben {b}"]},
    "fr": {"right": ["ajoute {b}", "et {b}", "avec {b}", "ajoute {b} à droite", "mets {b} à côté"], "left": ["ajoute {b} à gauche", "mets {b} à gauche"],
           "below": ["ajoute {b} en dessous", "mets {b} en bas"], "above": ["ajoute {b} au-dessus", "mets {b} en haut"]},
    "ja": {"right": ["{b}を追加して", "{b}も", "右に{b}を置いて", "隣に{b}を"], "left": ["左に{b}を置いて", "左に{b}を追加して"],
           "below": ["下に{b}を置いて", "下に{b}を追加して"], "above": ["上に{b}を置いて", "上に{b}を追加して"]},
    "es": {"right": ["añade {b}", "agrega {b}", "y {b}", "con {b}", "pon {b} a la derecha"], "left": ["pon {b} a la izquierda", "añade {b} a la izquierda"],
           "below": ["pon {b} debajo", "añade {b} abajo"], "above": ["pon {b} encima", "añade {b} arriba"]},
    "ru": {"right": ["добавь: {b}", "добавь {b}", "и {b}", "с {bi}", "справа {b}", "рядом {b}"], "left": ["слева {b}", "добавь слева {b}"],
           "below": ["снизу {b}", "добавь снизу {b}"], "above": ["сверху {b}", "добавь сверху {b}"]},
    "vi": {"right": ["thêm {b}", "thêm {b} bên phải", "và {b}", "cùng với {b}"], "left": ["thêm {b} bên trái", "đặt {b} bên trái"],
           "below": ["thêm {b} ở dưới", "đặt {b} ở dưới"], "above": ["thêm {b} ở trên", "đặt {b} ở trên"]},
}  # fmt: skip
MORE = {
    "en": {Layout.TWO: ["two of them", "make it two", "now two"], Layout.THREE: ["three of them", "make it three", "now three"]},
    "zh": {Layout.TWO: ["要两个", "变成两个"], Layout.THREE: ["要三个", "变成三个"]},
    "de": {Layout.TWO: ["zwei davon", "jetzt zwei"], Layout.THREE: ["drei davon", "jetzt drei"]},
    "fr": {Layout.TWO: ["deux", "mets-en deux"], Layout.THREE: ["trois", "mets-en trois"]},
    "ja": {Layout.TWO: ["二つにして", "二匹にして"], Layout.THREE: ["三つにして", "三匹にして"]},
    "es": {Layout.TWO: ["que sean dos", "ahora dos"], Layout.THREE: ["que sean tres", "ahora tres"]},
    "ru": {Layout.TWO: ["сделай два", "теперь две"], Layout.THREE: ["сделай три", "теперь три"]},
    "vi": {Layout.TWO: ["cho hai cái", "bây giờ hai"], Layout.THREE: ["cho ba cái", "bây giờ ba"]},
}  # fmt: skip
INSTEAD = {
    "en": ["{b} instead", "make it {b}", "replace it with {b}", "now {b}"], "zh": ["换成{b}", "改画{b}"], "de": ["stattdessen {b}", "lieber {b}", "jetzt {b}"],
    "fr": ["plutôt {b}", "{b} à la place"], "ja": ["代わりに{b}", "{b}に変えて"], "es": ["mejor {b}", "{b} en su lugar"],
    "ru": ["лучше {b}", "вместо этого {b}"], "vi": ["đổi thành {b}", "thay bằng {b}"],
}  # fmt: skip


@dataclass(frozen=True)
class Name:
    """A thing's name in its forms; a word that nothing is known of has one."""

    text: str
    plural: str | None = None
    genitive: str | None = None
    instrumental: str | None = None

    @classmethod
    def of(cls, concept: dict, language: str, which: int = 0) -> "Name":
        """The label, or an alias."""
        forms = concept["forms"][language]
        names = [concept["labels"][language], *forms["aliases"]]
        pick = lambda key: forms[key][which] if forms[key] else None  # noqa: E731
        return cls(names[which], pick("plural"), pick("genitive"), pick("instrumental"))

    @classmethod
    def random(cls, concept: dict, language: str, rng) -> "Name":
        """The label, or, one time in four, one of the aliases."""
        others = len(concept["forms"][language]["aliases"])
        return cls.of(concept, language, rng.randint(1, others) if others and rng.random() < 0.25 else 0)


def several(layout: Layout, names: list[Name], language: str, rng) -> str:
    if layout in (Layout.TWO, Layout.THREE):
        return counted(rng.choice(COUNTS[language][layout]), names[0])
    return paired(rng.choice(PAIRS[language][layout]), names, [rng.choice(ARTICLES[language]) for _ in names])


def held_out(layout: Layout, names: list[Name], language: str) -> str:
    template = HELD_OUT[language][layout]
    if layout in (Layout.TWO, Layout.THREE):
        return counted(template, names[0])
    return paired(template, names, [ARTICLES[language][0] if language in ("en", "vi") else ""] * 2)


def counted(template: str, name: Name) -> str:
    return template.format(o=name.text, p=name.plural or name.text)


def paired(template: str, names: list[Name], articles: list[str]) -> str:
    parts = {}
    for key, name, article in zip("ab", names, articles):
        parts[key] = with_article(article, name.text)
        parts[f"{key}g"] = name.genitive or name.text
        parts[f"{key}i"] = name.instrumental or name.text
    return template.format(**parts)


def with_article(article: str, name: str) -> str:
    return ("an " if article == "a " and name[0].lower() in "aeiou" else article) + name


def addition(side: str, name: Name, language: str, rng=random) -> str:
    """Asks for another thing on that side of what is drawn."""
    return paired(rng.choice(ADDITIONS[language][side]), [Name(""), name], ["", rng.choice(ARTICLES[language])])


def instead(name: Name, language: str, rng=random) -> str:
    return paired(rng.choice(INSTEAD[language]), [Name(""), name], ["", rng.choice(ARTICLES[language])])


def more(layout: Layout, language: str, rng=random) -> str:
    return rng.choice(MORE[language][layout])
