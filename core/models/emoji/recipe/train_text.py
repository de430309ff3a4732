"""Stage 2a: the teacher's text encoders, T5 and CLIP: states that tell all that a caption says.

    python train_text.py --work WORK

reads WORK/concepts.json and writes WORK/flux/{text_encoder,text_encoder_2}, which stage 2 uses as they are. Linear heads
read from T5's states, at every token of a thing's name, which thing it is and where it stands, and at every token the
style, the background and the layout; from CLIP's pooled vector the same, of all things. Trained with FLUX instead, T5's
states of 300 names came to differ in two directions and CLIP's in seven, whatever FLUX had to draw.
"""

import random

import torch
import torch.nn.functional as F
from torch import nn

import captions
import data
import teacher
import vocabulary
from training import parameter_count, seed_everything, stage_arguments

BATCH = 192
ADAM_LR = 1e-3
LAYOUTS = list(data.Layout)
PLACES = 2  # of the things that are named
NO_PLACE = -1


class Labels:
    """What the heads are to read."""

    def __init__(self, tokenizers: vocabulary.TeacherTokenizers, concepts: list[dict], scenes: list[data.Scene]):
        self.t5_ids, self.clip_ids = tokenizers.inputs([captions.canonical(concepts, scene) for scene in scenes])
        self.style = torch.tensor([scene.style for scene in scenes])
        self.colour = torch.tensor([scene.colour for scene in scenes])
        self.layout = torch.tensor([LAYOUTS.index(scene.layout) for scene in scenes])
        self.things = torch.zeros(len(scenes), len(concepts))
        self.place = torch.full(self.t5_ids.shape, NO_PLACE)
        self.concept = torch.zeros_like(self.t5_ids)
        for row, scene in enumerate(scenes):
            self.things[row, list(scene.concepts)] = 1 / len(scene.concepts)
            begin = 0
            for place, concept in enumerate(scene.concepts):
                name = tokenizers.t5.encode(concepts[concept]["labels"]["en"].lower()).ids
                at = find(self.t5_ids[row].tolist(), name, begin)
                begin = at + len(name)
                self.place[row, at:begin] = place
                self.concept[row, at:begin] = concept


def find(ids: list[int], part: list[int], begin: int) -> int:
    """Where `part` stands in `ids`, from `begin` on."""
    return next(at for at in range(begin, len(ids)) if ids[at : at + len(part)] == part)


class Heads(nn.Module):
    """Reads scenes from states of one width."""

    def __init__(self, width: int, concepts: int):
        super().__init__()
        self.concept, self.place = nn.Linear(width, concepts), nn.Linear(width, PLACES)
        classes = {"style": len(data.STYLES), "colour": len(data.COLOURS), "layout": len(LAYOUTS)}
        self.look = nn.ModuleDict({name: nn.Linear(width, count) for name, count in classes.items()})

    def look_loss(self, states: torch.Tensor, labels: Labels) -> torch.Tensor:
        """Of states [batch, width], or [batch, tokens, width] of which every token is to tell it."""
        losses = []
        for name, head in self.look.items():
            logits, wanted = head(states), getattr(labels, name)
            if states.ndim == 3:
                logits, wanted = logits.flatten(0, 1), wanted[:, None].expand(states.shape[:2]).flatten()
            losses.append(F.cross_entropy(logits, wanted))
        return sum(losses)


def losses(t5, clip, heads: nn.ModuleDict, labels: Labels) -> tuple[torch.Tensor, torch.Tensor]:
    """T5's and CLIP's."""
    states, pooled = teacher.encode(t5, clip, labels.t5_ids, labels.clip_ids)
    named = labels.place != NO_PLACE
    of_names = states[named]
    t5_loss = (
        F.cross_entropy(heads["t5"].concept(of_names), labels.concept[named])
        + F.cross_entropy(heads["t5"].place(of_names), labels.place[named])
        + heads["t5"].look_loss(states, labels)
    )  # fmt: skip
    clip_loss = F.cross_entropy(heads["clip"].concept(pooled), labels.things) + heads["clip"].look_loss(pooled, labels)
    return t5_loss, clip_loss


def directions(states: torch.Tensor) -> float:
    """In how many directions states [n, width] differ: (sum of variances)^2 / sum of their squares."""
    variances = torch.linalg.svdvals(states - states.mean(0)).square()
    return (variances.sum().square() / variances.square().sum()).item()


@torch.no_grad()
def report(t5, clip, heads: nn.ModuleDict, tokenizers, concepts: list[dict]) -> str:
    rng = random.Random(5)
    labels = Labels(tokenizers, concepts, [data.random_several(len(concepts) - 1, rng, held_out=True) for _ in range(256)])
    states, pooled = teacher.encode(t5, clip, labels.t5_ids, labels.clip_ids)
    named = labels.place != NO_PLACE
    share = lambda hits: f"{hits.float().mean().item():.3f}"  # noqa: E731
    facts = [
        "T5 " + share(heads["t5"].concept(states[named]).argmax(-1) == labels.concept[named]),
        "place " + share(heads["t5"].place(states[named]).argmax(-1) == labels.place[named]),
        "CLIP " + share(labels.things.gather(1, heads["clip"].concept(pooled).argmax(-1, keepdim=True)) > 0),
    ]
    for name in ("style", "colour", "layout"):
        facts.append(f"{name} " + share(heads["clip"].look[name](pooled).argmax(-1) == getattr(labels, name)))
    labels = Labels(tokenizers, concepts, [data.Scene((concept,), 0, 0) for concept in range(len(concepts) - 1)])
    states, pooled = teacher.encode(t5, clip, labels.t5_ids, labels.clip_ids)
    facts.append(f"directions of names T5 {directions(states[labels.place == 0]):.0f}, CLIP {directions(pooled):.0f}")
    return ", ".join(facts)


def main() -> None:
    args = stage_arguments(__doc__, steps=500).parse_args()
    seed_everything(args.seed)
    _, _, concepts = data.load(args.work)
    tokenizers = vocabulary.teacher_tokenizers(args.work, concepts)
    t5, clip = teacher.build_t5(tokenizers.t5.get_vocab_size()), teacher.build_clip(tokenizers.clip.get_vocab_size())
    heads = nn.ModuleDict({
        "t5": Heads(teacher.T5_WIDTH, len(concepts)), "clip": Heads(teacher.POOLED_WIDTH, len(concepts)),
    })  # fmt: skip
    parameters = [p for module in (t5, clip, heads) for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=ADAM_LR, betas=(0.9, 0.99), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, ADAM_LR, total_steps=args.steps, pct_start=0.1)
    scenes = data.all_scenes(len(concepts))
    print(f"t5 {parameter_count(t5)}, clip {parameter_count(clip)}", flush=True)
    for step in range(args.steps):
        batch = random.sample(scenes, BATCH // 2)
        batch += [data.random_several(len(concepts) - 1, random) for _ in range(BATCH - len(batch))]
        t5_loss, clip_loss = losses(t5, clip, heads, Labels(tokenizers, concepts, batch))
        optimizer.zero_grad()
        (t5_loss + clip_loss).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} loss {t5_loss.item():.3f} {clip_loss.item():.3f}", flush=True)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            print(report(t5, clip, heads, tokenizers, concepts), flush=True)
    t5.save_pretrained(args.work / "flux/text_encoder_2")
    clip.save_pretrained(args.work / "flux/text_encoder")


if __name__ == "__main__":
    main()
