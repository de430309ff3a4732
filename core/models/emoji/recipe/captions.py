"""The words: captions of a scene in eight languages, and the canonical English one that the language model answers.

A caption names the concept (emojibase's label), the background colour and, mostly, the style. Without a style noto is
meant, without a colour white. `HELD_OUT` holds one phrasing a language that no stage trains on.
"""

import random

from data import COLOUR_NAMES, LANGUAGES, STYLES, Scene

DEFAULT_STYLE = STYLES.index("noto")
DEFAULT_COLOUR = COLOUR_NAMES.index("white")

# Colour words in the order of data.COLOURS; several forms where the grammar asks for them.
WORDS = {
    "en": {"c": "red yellow green blue purple pink white gray"},
    "zh": {"c": "红色 黄色 绿色 蓝色 紫色 粉色 白色 灰色"},
    "de": {
        "c": "rot gelb grün blau lila rosa weiß grau",
        "strong": "rotem gelbem grünem blauem lila rosa weißem grauem",
        "weak": "roten gelben grünen blauen lila rosa weißen grauen",
    },
    "fr": {"c": "rouge jaune vert bleu violet rose blanc gris"},
    "ja": {"c": "赤 黄色 緑 青 紫 ピンク 白 灰色"},
    "es": {"c": "rojo amarillo verde azul morado rosa blanco gris"},
    "ru": {
        "c": "красный жёлтый зелёный синий фиолетовый розовый белый серый",
        "on": "красном жёлтом зелёном синем фиолетовом розовом белом сером",
    },
    "vi": {"c": "đỏ|vàng|xanh lá|xanh dương|tím|hồng|trắng|xám"},
}

# o: the concept, s: the style, the rest: a form of the colour.
STYLED = {
    "en": ["a {o} on a {c} background, {s} style", "{o} on a {c} background, {s} style", "{o}, {c} background, {s}",
           "a {o} in {s} style on a {c} background", "{s} {o} with a {c} background"],
    "zh": ["{c}背景上的{o}，{s}风格", "{o}，{c}背景，{s}", "画一个{o}，{c}背景，{s}风格", "{s}风格的{o}，背景是{c}", "{c}背景的{o}，{s}"],
    "de": ["{o} auf {strong} Hintergrund, {s}-Stil", "{o}, Hintergrund {c}, {s}", "{o} auf einem {weak} Hintergrund, {s}-Stil",
           "{o} im {s}-Stil auf {strong} Hintergrund", "{o} vor {strong} Hintergrund, {s}"],
    "fr": ["{o} sur fond {c}, style {s}", "{o}, fond {c}, {s}", "{o} sur un fond {c}, style {s}", "{o} style {s} sur fond {c}",
           "{o} avec un fond {c}, {s}"],
    "ja": ["{c}の背景に{o}、{s}スタイル", "{o}、{c}の背景、{s}", "{c}い背景の{o}、{s}風", "{s}スタイルの{o}、背景は{c}", "{c}の背景の{o}、{s}スタイル"],
    "es": ["{o} sobre fondo {c}, estilo {s}", "{o}, fondo {c}, {s}", "{o} sobre un fondo {c}, estilo {s}",
           "{o} de estilo {s} sobre fondo {c}", "{o} con fondo {c}, {s}"],
    "ru": ["{o} на {on} фоне, стиль {s}", "{o}, фон {c}, {s}", "{o} на {on} фоне в стиле {s}", "{o} в стиле {s} на {on} фоне",
           "{o}, {c} фон, стиль {s}"],
    "vi": ["{o} trên nền {c}, phong cách {s}", "{o}, nền {c}, {s}", "{o} theo phong cách {s} trên nền {c}",
           "{o} với nền {c}, phong cách {s}", "một {o} trên nền {c}, {s}"],
}  # fmt: skip
UNSTYLED = {
    "en": ["a {o} on a {c} background", "{o} on a {c} background", "{o}, {c} background", "a picture of a {o} on {c}"],
    "zh": ["{c}背景上的{o}", "{o}，{c}背景", "画一个{o}，{c}背景", "{c}背景上的一个{o}"],
    "de": ["{o} auf {strong} Hintergrund", "{o} auf einem {weak} Hintergrund", "{o}, Hintergrund {c}", "{o} vor {strong} Hintergrund"],
    "fr": ["{o} sur fond {c}", "{o} sur un fond {c}", "{o}, fond {c}", "une image de {o} sur fond {c}"],
    "ja": ["{c}の背景に{o}", "{c}い背景の{o}", "{o}、{c}の背景", "{c}の背景の上の{o}"],
    "es": ["{o} sobre fondo {c}", "{o} sobre un fondo {c}", "{o}, fondo {c}", "{o} en un fondo {c}"],
    "ru": ["{o} на {on} фоне", "{o}, {c} фон", "{o}, фон {c}", "нарисуй: {o} на {on} фоне"],
    "vi": ["{o} trên nền {c}", "một {o} trên nền {c}", "{o}, nền {c}", "{o} trên phông nền {c}"],
}  # fmt: skip
BARE = {
    "en": ["{o}", "a {o}"], "zh": ["{o}", "一个{o}"], "de": ["{o}"], "fr": ["{o}"],
    "ja": ["{o}"], "es": ["{o}"], "ru": ["{o}"], "vi": ["{o}", "một {o}"],
}  # fmt: skip
HELD_OUT = {
    "en": "{o} with {s} style on a {c} background", "zh": "{c}背景，{o}，{s}风格", "de": "{o}, {s}-Stil, auf {strong} Hintergrund",
    "fr": "{o}, style {s}, sur un fond {c}", "ja": "{s}スタイルの{o}、{c}の背景", "es": "{o}, estilo {s}, sobre un fondo {c}",
    "ru": "{o}, стиль {s}, на {on} фоне", "vi": "{o}, phong cách {s}, trên nền {c}",
}  # fmt: skip
# Put before the concept now and then: articles (in any gender), measure words, requests.
OPENERS = {
    "en": ["a ", "the ", "one ", "draw a ", "please draw a ", "paint a ", "a picture of a ", "an image of a ", "show me a "],
    "zh": ["一个", "一只", "一颗", "一辆", "一朵", "一张", "画一个", "画一只", "请画一个", "一幅画："],
    "de": ["ein ", "eine ", "einen ", "der ", "die ", "das ", "ein Bild von ", "zeichne ", "male ", "bitte zeichne einen "],
    "fr": ["un ", "une ", "le ", "la ", "une image de ", "dessine ", "dessine un ", "dessine une "],
    "ja": ["一つの", "一匹の", "絵：", "描いて：", "ひとつの"],
    "es": ["un ", "una ", "el ", "la ", "una imagen de ", "dibuja ", "dibuja un ", "dibuja una "],
    "ru": ["нарисуй ", "нарисуй: ", "один ", "одна ", "одно ", "картинка: ", "изображение: "],
    "vi": ["một ", "một con ", "một quả ", "một chiếc ", "một bông ", "con ", "quả ", "vẽ ", "vẽ một ", "hình ảnh "],
}  # fmt: skip
# What may be asked of a picture that is shown: another style and background, one of them, or neither.
CHANGES = {
    "en": (["in {s} style on {c}", "in {s} style on a {c} background", "the same in {s} style on a {c} background",
            "on a {c} background, {s} style", "draw this in {s} style on {c}", "make it {s} style with a {c} background"],
           ["in {s} style", "the same in {s} style", "make it {s} style", "draw this in {s} style"],
           ["on {c}", "on a {c} background", "the same on a {c} background", "with a {c} background", "make the background {c}"],
           ["the same", "draw this", "draw this again"]),
    "zh": (["{s}风格，{c}背景", "{c}背景，{s}风格", "改成{s}风格，{c}背景", "画成{s}风格，背景是{c}"], ["{s}风格", "改成{s}风格"],
           ["{c}背景", "背景改成{c}"], ["同样的", "画这个"]),
    "de": (["im {s}-Stil auf {strong} Hintergrund", "dasselbe im {s}-Stil auf {strong} Hintergrund", "{s}-Stil, Hintergrund {c}"],
           ["im {s}-Stil", "dasselbe im {s}-Stil"],
           ["auf {strong} Hintergrund", "mit {strong} Hintergrund", "dasselbe auf {strong} Hintergrund"], ["dasselbe", "zeichne das"]),
    "fr": (["en style {s} sur fond {c}", "la même chose en style {s} sur fond {c}", "style {s}, fond {c}"],
           ["en style {s}", "la même chose en style {s}"], ["sur fond {c}", "avec un fond {c}", "la même chose sur fond {c}"],
           ["la même chose", "dessine ça"]),
    "ja": (["{s}スタイルで、{c}の背景に", "{c}の背景、{s}スタイル", "同じものを{s}スタイルで、背景は{c}"], ["{s}スタイルで", "同じものを{s}スタイルで"],
           ["{c}の背景に", "背景は{c}"], ["同じもの", "これを描いて"]),
    "es": (["en estilo {s} sobre fondo {c}", "lo mismo en estilo {s} sobre fondo {c}", "estilo {s}, fondo {c}"],
           ["en estilo {s}", "lo mismo en estilo {s}"], ["sobre fondo {c}", "con fondo {c}", "lo mismo sobre fondo {c}"],
           ["lo mismo", "dibuja esto"]),
    "ru": (["в стиле {s} на {on} фоне", "то же самое в стиле {s} на {on} фоне", "стиль {s}, фон {c}"],
           ["в стиле {s}", "то же самое в стиле {s}"], ["на {on} фоне", "то же самое на {on} фоне", "фон {c}"],
           ["то же самое", "нарисуй это"]),
    "vi": (["theo phong cách {s} trên nền {c}", "phong cách {s}, nền {c}", "giống vậy theo phong cách {s} trên nền {c}"],
           ["theo phong cách {s}", "giống vậy theo phong cách {s}"], ["trên nền {c}", "nền {c}", "giống vậy trên nền {c}"],
           ["giống vậy", "vẽ cái này"]),
}  # fmt: skip
STOPS = {"zh": "。", "ja": "。"}  # the full stop, where it is not "."


def canonical(concepts: list[dict], scene: Scene) -> str:
    """The answer: `red apple on a blue background, noto style`."""
    return fill("{o} on a {c} background, {s} style", concepts, scene, "en").lower()


def colour_forms(scene: Scene, language: str) -> dict[str, str]:
    return {form: words.split("|" if "|" in words else " ")[scene.colour] for form, words in WORDS[language].items()}


def fill(template: str, concepts: list[dict], scene: Scene, language: str, opener: str = "") -> str:
    forms = colour_forms(scene, language)
    if "{c}い" in template and forms["c"] not in ("赤", "青", "白"):
        template = template.replace("{c}い", "{c}の")  # only these three are adjectives
    label = concepts[scene.concept]["labels"][language]
    if opener:
        for article in ("a {o}", "một {o}", "一个{o}"):
            template = template.replace(article, "{o}")
        template = template.replace("{o}", opener + "{o}")
    caption = template.format(o=label, s=STYLES[scene.style], **forms)
    if language == "en" and label[0] in "aeiou":
        caption = f" {caption}".replace(f" a {label}", f" an {label}").strip()
    return caption


def training_caption(concepts: list[dict], scene: Scene, language: str, rng=random) -> str:
    """A random phrasing of the scene; the style goes unsaid only if it is the default, as does the colour."""
    kinds = [STYLED]
    if scene.style == DEFAULT_STYLE:
        kinds += [UNSTYLED, UNSTYLED]
        if scene.colour == DEFAULT_COLOUR:
            kinds += [BARE]
    opener = rng.choice(OPENERS[language]) if rng.random() < 0.35 else ""
    caption = fill(rng.choice(rng.choice(kinds)[language]), concepts, scene, language, opener)
    if language == "en" and rng.random() < 0.15:
        caption = caption.replace("gray", "grey")
    if language == "zh" and rng.random() < 0.3:
        caption = caption.replace("粉色", "粉红色")
    if language == "ru" and rng.random() < 0.3:
        caption = caption.replace("ё", "е")
    case = rng.random()
    if case < 0.3:
        caption = caption[0].upper() + caption[1:]
    elif case < 0.5:
        caption = caption.lower()
    if rng.random() < 0.15:
        caption += STOPS.get(language, ".")
    return caption


def short_caption(concepts: list[dict], scene: Scene, language: str, rng=random) -> str:
    """The concept alone, if a scene of the default colour is meant, else with its colour: what costs the least to hear."""
    kind = BARE if scene.colour == DEFAULT_COLOUR else UNSTYLED
    opener = rng.choice(OPENERS[language]) if rng.random() < 0.5 else ""
    return fill(rng.choice(kind[language]), concepts, scene, language, opener)


def scoring_caption(concepts: list[dict], scene: Scene, language: str, rng: random.Random) -> str:
    """One of the styled phrasings, as written: what the scores are measured on."""
    return fill(rng.choice(STYLED[language]), concepts, scene, language)


def held_out_caption(concepts: list[dict], scene: Scene, language: str) -> str:
    return fill(HELD_OUT[language], concepts, scene, language)


def places(concepts: list[dict], scene: Scene, language: str, caption: str) -> list[tuple[int, int] | None]:
    """Where in a training caption the concept, the colour and the style are said."""
    plain = lambda text: text.lower().replace("ё", "е")  # noqa: E731
    text, found = plain(caption), []
    colours = [*colour_forms(scene, language).values(), *(["grey"] if COLOUR_NAMES[scene.colour] == "gray" else [])]
    for forms in ([concepts[scene.concept]["labels"][language]], sorted(colours, key=len, reverse=True), [STYLES[scene.style]]):
        hits = [(text.find(form), len(form)) for form in map(plain, forms) if form in text]
        found.append((hits[0][0], hits[0][0] + hits[0][1]) if hits else None)
        if hits:  # a colour may stand in the concept's name, too
            text = text[: found[-1][0]] + "\0" * hits[0][1] + text[found[-1][1] :]
    return found


def change(shown: Scene, wanted: Scene, language: str, rng=random) -> str:
    """What to say beside a picture of `shown`, of the same concept, so that `wanted` is drawn."""
    kind = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}
    chosen = kind[shown.style != wanted.style, shown.colour != wanted.colour]
    template = rng.choice(CHANGES[language][chosen])
    return template.format(s=STYLES[wanted.style], **colour_forms(wanted, language))


if __name__ == "__main__":
    import sys
    from pathlib import Path

    import data

    _, _, loaded = data.load(Path(sys.argv[1]))
    for name in LANGUAGES:
        print([training_caption(loaded, Scene(0, 0, 3), name) for _ in range(6)])
