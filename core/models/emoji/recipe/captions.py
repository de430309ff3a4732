"""The words: captions of a scene in eight languages, and the canonical English one that the language model answers.

A caption names the things (phrases.py), the background colour and, mostly, the style. Without a style noto is meant,
without a colour white. `HELD_OUT` holds one phrasing a language that no stage trains on.

The answer names them in one way:
    red apple on a blue background, noto style
    two x red apple on a blue background, noto style
    left cat, right dog on a blue background, noto style
    top evergreen tree, bottom fox on a blue background, noto style
and of a word that names nothing the model draws:
    i know no zeppelin on a blue background, noto style
"""

import random

import phrases
from data import COLOUR_NAMES, LANGUAGES, STYLES, Layout, Scene

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
# In a conversation: another background.
RECOLOURS = {
    "en": ["make it {c}", "now in {c}", "now {c}", "{c}, please", "change the background to {c}", "can you make it {c}?"],
    "zh": ["换成{c}", "改成{c}", "变成{c}", "现在要{c}"], "de": ["mach es {c}", "jetzt in {c}", "jetzt {c}", "und nun {c}", "bitte {c}"],
    "fr": ["mets-le en {c}", "maintenant en {c}", "en {c}", "change le fond en {c}"],
    "ja": ["{c}にして", "今度は{c}で", "背景を{c}にして", "{c}に変えて"],
    "es": ["hazlo {c}", "ahora en {c}", "ponlo {c}", "cambia el fondo a {c}"],
    "ru": ["сделай {c}", "теперь {c}", "теперь на {on} фоне", "фон пусть будет {c}"],
    "vi": ["đổi thành màu {c}", "bây giờ màu {c}", "cho nền {c}", "chuyển sang {c}"],
}  # fmt: skip
I_KNOW_NO = "i know no "
STOPS = {"zh": "。", "ja": "。"}  # the full stop, where it is not "."
SPELLINGS = {"gray": ["grey"], "pink": ["粉红色"]}  # of colours, that `scribbled` knows


# Around a whole request, now and then.
REQUESTS = {
    "en": ["I want {}", "could you paint {}?", "{}, please", "I'd love to see {}", "make me {}", "let's see {}", "can you make {}", "generate {}", "{} picture"],
    "zh": ["我想看{}", "请给我{}", "帮我画{}", "生成{}", "来{}吧", "能不能画{}"],
    "de": ["ich möchte {}", "könntest du {} zeichnen?", "{}, bitte", "zeig mir {}", "ich will {} sehen", "mach mir {}"],
    "fr": ["je veux {}", "pourrais-tu dessiner {} ?", "{}, s'il te plaît", "montre-moi {}", "fais-moi {}", "j'aimerais voir {}"],
    "ja": ["{}を描いてください", "{}が見たい", "{}をお願いします", "{}を作って", "{}の絵"],
    "es": ["quiero {}", "¿podrías dibujar {}?", "{}, por favor", "muéstrame {}", "hazme {}", "me gustaría ver {}"],
    "ru": ["я хочу {}", "можешь нарисовать {}?", "{}, пожалуйста", "покажи мне {}", "сделай {}", "изобрази {}"],
    "vi": ["tôi muốn xem {}", "hãy vẽ {}", "vẽ giúp tôi {}", "cho tôi xem {}", "bạn vẽ {} được không?", "làm ơn vẽ {}"],
}  # fmt: skip
REQUESTED = 0.12  # share of captions in which something is requested


def colour_words() -> set[str]:
    """Every form of every colour, in every language."""
    forms = [words.split("|" if "|" in words else " ") for by_form in WORDS.values() for words in by_form.values()]
    return {word.lower() for form in forms for word in form}


def canonical(concepts: list[dict], scene: Scene) -> str:
    """The answer."""
    names = [concepts[index]["labels"]["en"].lower() for index in scene.concepts]
    return f"{things(scene.layout, names)}{surroundings(scene)}"


def things(layout: Layout, names: list[str]) -> str:
    match layout:
        case Layout.TWO | Layout.THREE:
            return f"{layout.value} x {names[0]}"
        case Layout.BESIDE:
            return f"left {names[0]}, right {names[1]}"
        case Layout.ABOVE:
            return f"top {names[0]}, bottom {names[1]}"
    return names[0]


def unknown_answer(word: str, scene: Scene) -> str:
    """What is answered to a caption that has `word` in the place of a thing."""
    return f"{I_KNOW_NO}{word}{surroundings(scene)}"


def surroundings(scene: Scene) -> str:
    return f" on a {COLOUR_NAMES[scene.colour]} background, {STYLES[scene.style]} style"


def colour_forms(scene: Scene, language: str) -> dict[str, str]:
    return {form: words.split("|" if "|" in words else " ")[scene.colour] for form, words in WORDS[language].items()}


def fill(template: str, name: str, scene: Scene, language: str, opener: str | None = None) -> str:
    """A template of a thing or of things called `name`; with an opener, or with several things, without its article."""
    forms = colour_forms(scene, language)
    if "{c}い" in template and forms["c"] not in ("赤", "青", "白"):
        template = template.replace("{c}い", "{c}の")  # only these three are adjectives
    if opener is not None:
        for article in ("a {o}", "một {o}", "一个{o}"):
            template = template.replace(article, "{o}")
        template = template.replace("{o}", opener + "{o}")
    caption = template.format(o=name, s=STYLES[scene.style], **forms)
    if language == "en" and name[0].lower() in "aeiou":
        caption = f" {caption}".replace(f" a {name}", f" an {name}").strip()
    return caption


def training_caption(concepts: list[dict], scene: Scene, language: str, rng=random, strange: str | None = None) -> str:
    """A random phrasing of the scene; the style goes unsaid only if it is the default, as does the colour.

    With `strange`, that word stands in the place of one of the things.
    """
    kinds = [STYLED]
    if scene.style == DEFAULT_STYLE:
        kinds += [UNSTYLED, UNSTYLED]
        if scene.colour == DEFAULT_COLOUR:
            kinds += [BARE]
    template = rng.choice(rng.choice(kinds)[language])
    names = [phrases.Name.random(concepts[index], language, rng) for index in scene.concepts]
    if strange is not None:
        names[rng.randrange(len(names))] = phrases.Name(strange)
    if scene.layout == Layout.ONE:
        opener = rng.choice(OPENERS[language]) if rng.random() < 0.35 else None
        caption = fill(template, names[0].text, scene, language, opener)
    else:
        caption = fill(template, phrases.several(scene.layout, names, language, rng), scene, language, "")
    if rng.random() < REQUESTED:
        caption = rng.choice(REQUESTS[language]).format(caption)
    return scribbled(caption, language, rng, keep=strange)


def scribbled(caption: str, language: str, rng, keep: str | None = None) -> str:
    """As people type: other spellings, capitals, a full stop. The word to `keep` stays as it is."""
    if language == "en" and rng.random() < 0.15:
        caption = caption.replace("gray", "grey")
    if language == "zh" and rng.random() < 0.3:
        caption = caption.replace("粉色", "粉红色")
    if language == "ru" and rng.random() < 0.3 and keep is None:
        caption = caption.replace("ё", "е")
    case = rng.random()
    if case < 0.3 and not (keep and caption.startswith(keep)):
        caption = caption[0].upper() + caption[1:]
    elif case < 0.5 and keep is None:
        caption = caption.lower()
    if rng.random() < 0.15:
        caption += STOPS.get(language, ".")
    return caption


def label(concepts: list[dict], scene: Scene, language: str) -> str:
    return concepts[scene.concept]["labels"][language]


def short_caption(concepts: list[dict], scene: Scene, language: str, rng=random) -> str:
    """The concept alone, if a scene of the default colour is meant, else with its colour: what costs the least to hear."""
    kind = BARE if scene.colour == DEFAULT_COLOUR else UNSTYLED
    opener = rng.choice(OPENERS[language]) if rng.random() < 0.5 else None
    name = phrases.Name.random(concepts[scene.concept], language, rng)
    return fill(rng.choice(kind[language]), name.text, scene, language, opener)


def scoring_caption(concepts: list[dict], scene: Scene, language: str, rng: random.Random) -> str:
    """One of the styled phrasings, as written: what the scores are measured on."""
    template = rng.choice(STYLED[language])
    if scene.layout == Layout.ONE:
        return fill(template, label(concepts, scene, language), scene, language)
    names = [phrases.Name.of(concepts[index], language) for index in scene.concepts]
    return fill(template, phrases.several(scene.layout, names, language, rng), scene, language, "")


def held_out_caption(concepts: list[dict], scene: Scene, language: str) -> str:
    """A phrasing that no training caption has: of the whole if one thing is meant, else of how the things stand."""
    if scene.layout == Layout.ONE:
        return fill(HELD_OUT[language], label(concepts, scene, language), scene, language)
    names = [phrases.Name.of(concepts[index], language) for index in scene.concepts]
    return fill(STYLED[language][0], phrases.held_out(scene.layout, names, language), scene, language, "")


def places(concepts: list[dict], scene: Scene, language: str, caption: str) -> list[tuple[int, int] | None]:
    """Where in a training caption of one thing the concept, by any of its names, the colour and the style are said."""
    plain = lambda text: text.lower().replace("ё", "е")  # noqa: E731
    text, found = plain(caption), []
    names = [label(concepts, scene, language), *concepts[scene.concept]["forms"][language]["aliases"]]
    colours = [*colour_forms(scene, language).values(), *SPELLINGS.get(COLOUR_NAMES[scene.colour], [])]
    for forms in (names, colours, [STYLES[scene.style]]):
        forms = sorted(forms, key=len, reverse=True)
        hits = [(text.find(form), len(form)) for form in map(plain, forms) if form in text]
        found.append((hits[0][0], hits[0][0] + hits[0][1]) if hits else None)
        if hits:  # a colour may stand in the concept's name, too
            text = text[: found[-1][0]] + "\0" * hits[0][1] + text[found[-1][1] :]
    return found


def change(shown: Scene, wanted: Scene, language: str, rng=random) -> str:
    """What to say about `shown`, of the same things, so that `wanted` is drawn."""
    kind = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}
    chosen = kind[shown.style != wanted.style, shown.colour != wanted.colour]
    templates = CHANGES[language][chosen]
    if chosen == 2:
        templates = templates + RECOLOURS[language] * 2
    return rng.choice(templates).format(s=STYLES[wanted.style], **colour_forms(wanted, language))


if __name__ == "__main__":
    import sys
    from pathlib import Path

    import data

    _, _, loaded = data.load(Path(sys.argv[1]))
    for name in LANGUAGES:
        scenes = [Scene((0,), 0, 3), *(data.random_several(len(loaded) - 1, random) for _ in range(6))]
        print([(training_caption(loaded, scene, name), canonical(loaded, scene)) for scene in scenes])
