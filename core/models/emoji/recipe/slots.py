"""What a tower tells the language model: the scene in words, as embeddings of the text's own tokens, in fixed slots.

The first CONCEPT_SLOTS tokens of a picture or a sound are those of the concept's name as the canonical caption has it,
then come those of its colour and its style; `<unk>` stands where nothing is to say, and for all of data.UNKNOWN, which is
never shown nor spoken. (One name is longer, "smiling face with sunglasses": what begins it is told, and no other begins so.) So the language model, which knows text, needs to learn next to nothing, and a scene that was never
shown is made of words that were.
"""

import torch
import torch.nn.functional as F

import data
import senses

SHARPNESS = 8.0  # of the choice between words, by distance
EXACTNESS = 4.0  # weight of the squared error: words told right but not exactly are not read


class Slots:
    """The words of every scene. Embeddings are in units of their root mean square, `unit`, in which the towers learn."""

    def __init__(self, work, tokens, concepts: list[dict]):
        embedding = torch.load(work / "text.pt", weights_only=True)["model.embed_tokens.weight"]
        self.unit = embedding.square().mean().sqrt().item()
        filler = tokens.convert_tokens_to_ids("<unk>")
        labels = tokens([concept["labels"]["en"].lower() for concept in concepts[:-1]])["input_ids"]
        labels = [(ids + [filler] * senses.CONCEPT_SLOTS)[: senses.CONCEPT_SLOTS] for ids in [*labels, []]]
        assert len({tuple(ids) for ids in labels}) == len(labels), "two concepts have the same words in their slots"
        colours, styles = ([ids for (ids,) in tokens([f" {word}" for word in words])["input_ids"]] for words in (data.COLOUR_NAMES, data.STYLES))
        words = sorted({filler, *colours, *styles, *(token for ids in labels for token in ids)})
        self.embedding = embedding[words] / self.unit  # [words, hidden]
        number = lambda ids: torch.tensor([words.index(token) for token in ids])  # noqa: E731
        self.filler = words.index(filler)
        self.concepts = torch.stack([number(ids) for ids in labels])  # [concepts, CONCEPT_SLOTS]
        self.colours, self.styles = number(colours), number(styles)

    def words(self, scenes: list[data.Scene]) -> torch.Tensor:
        """[scenes, SLOTS], numbers of words"""
        concept, colour, style = torch.tensor([[s.concept, s.colour, s.style] for s in scenes]).T
        return torch.cat([self.concepts[concept], self.colours[colour, None], self.styles[style, None]], 1)

    def logits(self, told: torch.Tensor) -> torch.Tensor:
        """Tokens in units [..., hidden] to logits [..., words]: the nearer, the likelier."""
        nearness = told @ self.embedding.T - self.embedding.square().sum(-1) / 2
        return nearness * (2 * SHARPNESS / told.shape[-1])

    def loss(self, told: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Of tokens in units [scenes, SLOTS, hidden]: cross-entropy, and the squared error, summed over slots."""
        chosen = F.cross_entropy(self.logits(told).flatten(0, 1), words.flatten(), label_smoothing=0.0)
        return words.shape[1] * (chosen + EXACTNESS * (told - self.embedding[words]).square().mean())

    def right(self, told: torch.Tensor, scenes: list[data.Scene]) -> torch.Tensor:
        """[3, scenes]: concept, style, colour told rightly."""
        right = self.logits(told).argmax(-1) == self.words(scenes)
        return torch.stack([right[:, : senses.CONCEPT_SLOTS].all(1), right[:, -1], right[:, -2]])
