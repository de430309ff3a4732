"""Stage 3: the multimodal language model (text side), from a caption in eight languages to the canonical English one.

    python train_mllm.py --work WORK

reads WORK/concepts.json and writes WORK/mllm and WORK/tokenizer. Needs no picture: it can run beside stage 1.

Two losses. Cross-entropy on the answer; and consistency: in every batch a scene is asked for in English and in three
other languages, and the hidden states of the answer's tokens under the other languages are pulled, layer by layer, to
those under English. Without it the states keep traces of the prompt's language, and an AlignNet that has only seen
English stumbles over them. The vision tower is part of the architecture but not trained here.
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

import captions
import data
import vocabulary
from muon import MuonAdamW, split_parameters
from training import Checkpoint, MovingAverage, parameter_count, seed_everything, stage_arguments, warm_up_then_decay

WIDTH, LAYERS, HEADS, KEY_VALUE_HEADS, FEED_FORWARD = 192, 6, 6, 2, 512
SCENES, PHRASINGS = 16, 4  # a batch: scenes x (English + three other languages)
CONSISTENCY = 0.5  # weight of the second loss
MUON_LR, ADAM_LR = 1e-2, 3e-3


def build(tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    token = tokenizer.convert_tokens_to_ids
    vision = dict(
        depth=2, hidden_size=64, intermediate_size=128, num_heads=2, fullatt_block_indexes=[1], window_size=112,
        out_hidden_size=WIDTH, hidden_act="silu", in_chans=3, in_channels=3, patch_size=14, spatial_merge_size=2,
        spatial_patch_size=14, temporal_patch_size=2, tokens_per_second=2,
    )  # fmt: skip
    config = Qwen2_5_VLConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=FEED_FORWARD, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KEY_VALUE_HEADS, max_position_embeddings=4096,
        rope_theta=10000.0, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_scaling={"type": "mrope", "mrope_section": [4, 6, 6]},
        bos_token_id=token("<|endoftext|>"), eos_token_id=token("<|im_end|>"), pad_token_id=token("<|endoftext|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"),
        vision_token_id=token("<|vision_pad|>"), image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"), vision_config=vision,
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config)


@dataclass
class Batch:
    ids: torch.Tensor  # [sequences, tokens]: prompt, answer, <|im_end|>, right padding (never looked at: causal)
    starts: torch.Tensor  # [sequences]: index of the answer's first token
    lengths: torch.Tensor  # [sequences]: tokens of the answer, <|im_end|> included

    def answer_positions(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(index, mask), both [sequences, longest answer]: where the answer's tokens are, <|im_end|> included."""
        offsets = torch.arange(int(self.lengths.max()))
        mask = offsets < self.lengths[:, None]
        return (self.starts[:, None] + offsets).clamp(max=self.ids.shape[1] - 1), mask


def make_batch(tokenizer, prompts: list[str], answers: list[str]) -> Batch:
    prompt_ids = tokenizer([vocabulary.chat_prompt(p) for p in prompts])["input_ids"]
    answer_ids = [ids + [tokenizer.eos_token_id] for ids in tokenizer(answers)["input_ids"]]
    rows = [torch.tensor(p + a) for p, a in zip(prompt_ids, answer_ids)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
    return Batch(ids, torch.tensor([len(p) for p in prompt_ids]), torch.tensor([len(a) for a in answer_ids]))


def states_of(model, batch: Batch) -> torch.Tensor:
    """Hidden states [layers + 1, sequences, tokens, width], the last after the final norm (as transformers returns)."""
    count, tokens = batch.ids.shape
    positions = torch.arange(tokens).expand(3, count, tokens)  # M-RoPE: text counts the same along all three axes
    output = model.model(input_ids=batch.ids, position_ids=positions, use_cache=False, output_hidden_states=True)
    return torch.stack(output.hidden_states)


def answer_loss(model, states: torch.Tensor, batch: Batch) -> torch.Tensor:
    index, mask = batch.answer_positions()
    rows = torch.arange(len(index))[:, None].expand_as(index)
    predicting = states[-1][rows, index - 1][mask]
    return F.cross_entropy(model.lm_head(predicting), batch.ids[rows, index][mask])


def consistency_loss(states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean over layers of the relative squared distance to the English states (no gradient into those)."""
    index, mask = batch.answer_positions()
    mask = mask & (torch.arange(index.shape[1]) < batch.lengths[:, None] - 1)  # <|im_end|> is never fed
    rows = torch.arange(len(index))[:, None].expand_as(index)
    answers = states[1:, rows, index]  # [layers, sequences, answer, width]
    answers = answers.unflatten(1, (-1, PHRASINGS))
    english, others = answers[:, :, :1].detach(), answers[:, :, 1:]
    weight = mask.unflatten(0, (-1, PHRASINGS))[None, :, 1:, :, None].float()
    distance = ((others - english).square() * weight).mean((1, 2, 3, 4))
    return (distance / (english.square() * weight).mean((1, 2, 3, 4))).mean()


def parallel_batch(tokenizer, concepts, scenes) -> Batch:
    prompts, answers = [], []
    for scene in random.choices(scenes, k=SCENES):
        for language in ["en"] + random.sample(data.LANGUAGES[1:], PHRASINGS - 1):
            prompts.append(captions.training_caption(concepts, scene, language))
            answers.append(captions.canonical(concepts, scene))
    return make_batch(tokenizer, prompts, answers)


@torch.no_grad()
def exact_match(model, tokenizer, concepts, language: str, count: int, seed: int = 5) -> float:
    """Share of unseen scenes whose whole answer greedy decoding gets right."""
    rng = random.Random(seed)
    scenes = rng.sample([s for s in data.all_scenes(len(concepts)) if s.held_out], count)
    prompts = [captions.scoring_caption(concepts, scene, language, rng) for scene in scenes]
    batch = make_batch(tokenizer, prompts, [captions.canonical(concepts, scene) for scene in scenes])
    index, mask = batch.answer_positions()
    rows = torch.arange(count)[:, None].expand_as(index)
    predicted = model.lm_head(states_of(model, batch)[-1][rows, index - 1]).argmax(-1)
    return ((predicted == batch.ids[rows, index]) | ~mask).all(1).float().mean().item()


def is_matrix(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name


def main() -> None:
    args = stage_arguments(__doc__, steps=1000).parse_args()
    seed_everything(args.seed)
    _, _, concepts = data.load(args.work)
    scenes = [s for s in data.all_scenes(len(concepts)) if not s.held_out]
    tokenizer = vocabulary.language_model_tokenizer(args.work, concepts)
    model = build(tokenizer)
    model.visual.requires_grad_(False)
    optimizer = MuonAdamW(*split_parameters(model.named_parameters(), is_matrix), MUON_LR, ADAM_LR)
    average = MovingAverage({"mllm": model}, decay=0.995)
    checkpoint = Checkpoint(args.work, "mllm", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"mllm {parameter_count(model)}, vocabulary {len(tokenizer)}", flush=True)
    for step in range(first, args.steps):
        batch = parallel_batch(tokenizer, concepts, scenes)
        states = states_of(model, batch)
        answer, consistency = answer_loss(model, states, batch), consistency_loss(states, batch)
        optimizer.zero_grad()
        (answer + CONSISTENCY * consistency).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps, warm_up=100))
        average.update(step)
        if (step + 1) % args.report_every == 0 or step + 1 == args.steps:
            scores = {x: round(exact_match(average["mllm"], tokenizer, concepts, x, 96), 2) for x in data.LANGUAGES}
            average["mllm"].save_pretrained(args.work / "mllm")
            checkpoint.save(step + 1)
            print(
                f"step {step + 1} answer {answer.item():.4f} consistency {consistency.item():.4f} "
                f"exact {scores} cpu {checkpoint.cpu_seconds():.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
