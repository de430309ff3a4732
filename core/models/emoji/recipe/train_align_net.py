"""Stage 4: AlignNet, by attention distillation on ENGLISH captions only.

    python train_align_net.py --work WORK

reads WORK/{flux,mllm,tokenizer,latents.pt} and writes WORK/proj/{config.json,diffusion_pytorch_model.bin}. Transformer,
text encoders and language model are frozen. The same noisy latents go through the transformer twice, under T5 and CLIP
(teacher) and under AlignNet of the language model's hidden states (student); AlignNet learns to make the image tokens'
attention outputs of every block equal. The hidden states are those of the answer's tokens, as
`generate(output_hidden_states=True)` returns them for the second and later steps: <|im_end|> is never fed.

The reference compares attention outputs by a KL divergence of temperature-3 softmaxes over normalized features. Here it
is the relative squared error: it keeps the scale that the KL form normalizes away, and on a model this small it
converges in a few hundred steps.
"""

import json
import random
from collections import defaultdict
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import nn
from transformers import CLIPTextModel, Qwen2_5_VLForConditionalGeneration, T5EncoderModel

import captions
import data
import teacher
import vocabulary
from muon import MuonAdamW, split_parameters
from train_flux import random_sigmas
from train_mllm import Batch, make_batch, states_of
from training import Checkpoint, MovingAverage, parameter_count, seed_everything, stage_arguments, warm_up_then_decay

BATCH = 48
MUON_LR, ADAM_LR = 1e-2, 2e-3
POOLED_WEIGHT = 0.2


class AlignNet(nn.Module):
    """X2I's Proj7Exp, `conv` variant, under its own tensor names.

    The middle layers' states are hundreds of times larger than the first and the last, and would drown them. While
    training, every layer is divided by its root mean square (`layer_scale`); `save` folds that into the convolution.
    """

    def __init__(
        self, layers: int, width: int, prompt_width: int, pooled_width: int, layer_scale: torch.Tensor, kernel: int = 5
    ):
        super().__init__()
        self.config = {
            "in_channels": layers, "kernel_size": kernel, "input_dim": width, "output_dim0": pooled_width,
            "output_dim1": prompt_width, "num_layers": 2, "num_heads": 4, "norm_eps": 1e-6, "head_dim": 8,
            "use_t5": False, "use_scale": False, "use_cnn": True,
        }  # fmt: skip
        self.register_buffer("layer_scale", layer_scale.view(1, layers, 1, 1), persistent=False)
        self.conv = nn.Conv2d(layers, 1, kernel, padding=(kernel - 1) // 2)
        self.mlp = Projector(width, prompt_width, pooled_width)
        with torch.no_grad():  # start as the sum of the first and the last layer, nearly
            self.conv.weight.mul_(0.1)
            self.conv.weight[0, [0, -1], kernel // 2, kernel // 2] += 1

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states [batch, layers, tokens, width] to (pooled, prompt_embeds), in the reference's order."""
        return self.mlp(self.conv(states / self.layer_scale).squeeze(1))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config, indent=1))
        weights = self.state_dict()
        weights["conv.weight"] = weights["conv.weight"] / self.layer_scale
        temporary = folder / "diffusion_pytorch_model.tmp"
        torch.save(weights, temporary)
        temporary.replace(folder / "diffusion_pytorch_model.bin")


class Projector(nn.Module):
    """The reference's MLP3."""

    def __init__(self, width: int, prompt_width: int, pooled_width: int):
        super().__init__()
        self.layernorm = nn.LayerNorm(width, eps=1e-6)
        self.projector = nn.Sequential(
            nn.Linear(width, prompt_width, bias=False), nn.GELU(), nn.Linear(prompt_width, prompt_width, bias=False)
        )
        self.fc = nn.Sequential(nn.GELU(), nn.Linear(prompt_width, pooled_width))

    def forward(self, mixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        prompt_embeds = self.projector(self.layernorm(mixed))
        return self.fc(prompt_embeds).mean(1), prompt_embeds


class AttentionTap:
    """Collects the image tokens' attention outputs of every block while the transformer runs."""

    def __init__(self, transformer: FluxTransformer2DModel):
        self.outputs: list[torch.Tensor] = []
        for block in [*transformer.transformer_blocks, *transformer.single_transformer_blocks]:
            block.attn.register_forward_hook(self._collect)

    def _collect(self, module, inputs, output):
        image = output[0] if isinstance(output, tuple) else output[:, -(teacher.TOKEN_SIDE**2) :]
        self.outputs.append(image)

    def take(self) -> list[torch.Tensor]:
        taken, self.outputs = self.outputs, []
        return taken


class Models:
    """Everything stages 1 to 3 made, frozen."""

    def __init__(self, work: Path):
        self.concepts = data.load(work)[2]
        self.tokenizer = vocabulary.language_model_tokenizer(work, self.concepts)
        self.teacher_tokenizer = vocabulary.teacher_tokenizer(work, self.concepts)
        load = lambda kind, folder: kind.from_pretrained(work / folder).eval().requires_grad_(False)  # noqa: E731
        self.mllm = load(Qwen2_5_VLForConditionalGeneration, "mllm")
        self.transformer = load(FluxTransformer2DModel, "flux/transformer")
        self.clip = load(CLIPTextModel, "flux/text_encoder")
        self.t5 = load(T5EncoderModel, "flux/text_encoder_2")
        self.vae = load(AutoencoderKL, "vae")

    def teacher_conditioning(self, scenes: list[data.Scene]):
        texts = [captions.canonical(self.concepts, scene) for scene in scenes]
        return teacher.encode(self.t5, self.clip, *vocabulary.teacher_inputs(self.teacher_tokenizer, texts))

    @torch.no_grad()
    def answer_states(self, batch: Batch) -> torch.Tensor:
        """[sequences, layers + 1, answer tokens, width]; every answer of the batch has the same length."""
        index, _ = batch.answer_positions()
        rows = torch.arange(len(index))[:, None]
        return states_of(self.mllm, batch)[:, rows, index[:, :-1]].transpose(0, 1)

    @torch.no_grad()
    def prompt_states(self, prompts: list[str]) -> torch.Tensor:
        """[sequences, layers + 1, prompt tokens, width], all of one length, as the prompt path has them."""
        ids = torch.tensor(self.tokenizer([vocabulary.chat_prompt(prompt) for prompt in prompts])["input_ids"])
        return states_of(self.mllm, Batch(ids, None, None)).transpose(0, 1)

    @torch.no_grad()
    def generate(self, prompt: str, limit: int = 32) -> tuple[str, torch.Tensor]:
        """(answer, its hidden states [1, layers + 1, tokens, width]) through transformers' own greedy generate."""
        ids = self.tokenizer(vocabulary.chat_prompt(prompt), return_tensors="pt")["input_ids"]
        output = self.mllm.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False,
            output_hidden_states=True, return_dict_in_generate=True,
        )  # fmt: skip
        steps = [torch.stack(step) for step in output.hidden_states[1:]]  # the first is the prompt's
        answer = self.tokenizer.decode(output.sequences[0, ids.shape[1] :], skip_special_tokens=True)
        return answer, torch.cat(steps, 2).transpose(0, 1)


def random_batch(models: Models, buckets, prompt_share: float) -> tuple[list[data.Scene], torch.Tensor]:
    """(scenes, hidden states) of English captions: of their answers, or of the prompts in `prompt_share` of the batches."""
    bucket = random.choices(buckets, [len(b) for b in buckets])[0]
    if random.random() >= prompt_share:
        scenes = random.choices(bucket, k=BATCH)
        prompts = [captions.training_caption(models.concepts, scene, "en") for scene in scenes]
        answers = [captions.canonical(models.concepts, scene) for scene in scenes]
        return scenes, models.answer_states(make_batch(models.tokenizer, prompts, answers))
    by_length = defaultdict(list)  # the most frequent prompt length among many
    for scene in random.choices(bucket, k=4 * BATCH):
        prompt = captions.training_caption(models.concepts, scene, "en")
        by_length[len(models.tokenizer(prompt)["input_ids"])].append((scene, prompt))
    scenes, prompts = zip(*max(by_length.values(), key=len)[:BATCH])
    return list(scenes), models.prompt_states(list(prompts))


def root_mean_squares(models: Models, scenes: list[data.Scene]) -> torch.Tensor:
    """[layers + 1], of the answers' states."""
    texts = [captions.canonical(models.concepts, scene) for scene in scenes]
    return models.answer_states(make_batch(models.tokenizer, texts, texts)).square().mean((0, 2, 3)).sqrt()


def scenes_by_answer_length(models: Models) -> list[list[data.Scene]]:
    buckets = defaultdict(list)
    for scene in data.all_scenes(len(models.concepts)):
        if not scene.held_out:
            buckets[len(models.tokenizer(captions.canonical(models.concepts, scene))["input_ids"])].append(scene)
    return list(buckets.values())


@torch.no_grad()
def score(models: Models, align_net: AlignNet, real: teacher.RealPictures, language: str, count: int):
    """(accuracy, share of exact answers, pictures) through greedy answers; half of the scenes were never trained on."""
    wanted = real.half_unseen(count, seed=11)
    rng = random.Random(11)
    tokens, exact = [], 0
    for number, scene in enumerate(wanted):
        answer, states = models.generate(captions.scoring_caption(models.concepts, scene, language, rng))
        exact += answer == captions.canonical(models.concepts, scene)
        pooled, embeds = align_net(states)
        tokens.append(teacher.sample(models.transformer, embeds, pooled, seed=number))
    made = teacher.decode(models.vae, torch.cat(tokens))
    return real.accuracy(made, wanted), exact / count, made


def report(models, align_net, real, count: int, work: Path) -> str:
    lines, rows = [], []
    for language in data.LANGUAGES:
        accuracy, exact, made = score(models, align_net, real, language, count)
        lines.append(f"  {language} concept/style/background {accuracy} exact answers {exact:.3f}")
        rows.append(made[:: max(1, count // 20)][:20])
    data.save_grid(torch.cat(rows), 20, work / "out/align_net.png", 2)
    return "\n".join(lines)


def main() -> None:
    parser = stage_arguments(__doc__, steps=1200)
    parser.add_argument("--score-count", type=int, default=48, help="pictures a language in the last report")
    parser.add_argument("--prompt-share", type=float, default=0.0, help="share of batches on prompt tokens instead")
    args = parser.parse_args()
    seed_everything(args.seed)
    models = Models(args.work)
    real = teacher.RealPictures(args.work)
    scene_rows = {scene: row for row, scene in enumerate(real.scenes)}
    latents = teacher.pack(torch.load(args.work / "latents.pt", weights_only=True))
    buckets = scenes_by_answer_length(models)
    tap = AttentionTap(models.transformer)
    config = models.mllm.config
    align_net = AlignNet(
        config.num_hidden_layers + 1, config.hidden_size, teacher.JOINT_WIDTH, teacher.POOLED_WIDTH,
        layer_scale=root_mean_squares(models, buckets[0][:64]),
    )  # fmt: skip
    matrices = split_parameters(align_net.named_parameters(), lambda name, p: p.ndim == 2)
    optimizer = MuonAdamW(*matrices, MUON_LR, ADAM_LR)
    average = MovingAverage({"align_net": align_net}, decay=0.99)
    checkpoint = Checkpoint(args.work, "align_net", average, optimizer)
    first = checkpoint.load() if args.resume else 0
    print(f"align net {parameter_count(align_net)}", flush=True)
    for step in range(first, args.steps):
        scenes, states = random_batch(models, buckets, args.prompt_share)
        clean = latents[[scene_rows[scene] for scene in scenes]]
        sigma, noise = random_sigmas(len(scenes)), torch.randn_like(clean)
        noisy = torch.lerp(clean, noise, sigma[:, None, None])
        with torch.no_grad():
            embeds, pooled = models.teacher_conditioning(scenes)
            target_velocity = teacher.velocity(models.transformer, noisy, sigma, embeds, pooled)
            targets = tap.take()
        student_pooled, student_embeds = align_net(states)
        student_velocity = teacher.velocity(models.transformer, noisy, sigma, student_embeds, student_pooled)
        attention = torch.stack([relative_error(mine, its) for mine, its in zip(tap.take(), targets)]).mean()
        speed = (student_velocity - target_velocity).square().mean()
        pooled_error = relative_error(student_pooled, pooled)
        optimizer.zero_grad()
        (attention + speed + POOLED_WEIGHT * pooled_error).backward()
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, 1.0)
        optimizer.step(warm_up_then_decay(step, args.steps))
        average.update(step)
        last = step + 1 == args.steps
        if (step + 1) % args.report_every == 0 or last:
            average["align_net"].save(args.work / "proj")
            checkpoint.save(step + 1)
            print(
                f"step {step + 1} attention {attention.item():.4f} velocity {speed.item():.4f} "
                f"pooled {pooled_error.item():.4f} cpu {checkpoint.cpu_seconds():.0f} s",
                flush=True,
            )
    print(report(models, average["align_net"], real, args.score_count, args.work), flush=True)


def relative_error(mine: torch.Tensor, its: torch.Tensor) -> torch.Tensor:
    return (mine - its).square().mean() / its.square().mean()


if __name__ == "__main__":
    main()
