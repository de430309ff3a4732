"""What the language model that sees and hears is made of: its numbers, its vocabulary, its prompts, its first weights.

`CONFIG` is the published `config.json` with small numbers, but for the vocabulary's. The text model of stage 3
(train_mllm.py) is 192 wide; the resampler needs a multiple of 128, so `widen` embeds it in one of 256 that computes the same.
"""

import math

import torch
from transformers import Qwen2TokenizerFast

import vocabulary
from minicpm_o import FRAMES_A_SECOND, MiniCpmO

CONCEPT_SLOTS = 3  # tokens of the longest concept's name
SLOTS = CONCEPT_SLOTS + 2  # with colour and style: what a tower tells (slots.py)
CONFIG = {
    "architectures": ["MiniCPMO"], "model_type": "minicpmo", "torch_dtype": "float32", "transformers_version": "4.49.0",
    # A multiple of 128 for the resampler's heads; 8 heads of 32, so that the text model's heads of 32 still fit.
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "hidden_act": "silu", "tie_word_embeddings": True, "use_cache": True, "use_sliding_window": False,
    "query_num": SLOTS, "image_size": 64, "patch_size": 8, "drop_vision_last_layer": False, "batch_vision_input": True,
    "vision_batch_size": 16, "slice_mode": True, "use_image_id": False, "init_vision": True, "init_audio": True,
    "init_tts": False, "chunk_input": True, "stream_input": False, "audio_chunk_length": 30.0, "audio_pool_step": 5,
    "slice_config": {"model_type": "minicpmv", "max_slice_nums": 1, "scale_resolution": 64},
    "vision_config": {
        "model_type": "siglip_vision_model", "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_channels": 3, "image_size": 64, "patch_size": 8, "layer_norm_eps": 1e-6,
    },
    "audio_config": {
        "model_type": "whisper", "d_model": 128, "encoder_attention_heads": 4, "encoder_ffn_dim": 512,
        "encoder_layers": 4, "num_hidden_layers": 4, "num_mel_bins": 80, "max_source_positions": 1500,
    },
}  # fmt: skip
SPECIAL_TOKENS = [
    "<unk>", "<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>", "<|audio_start|>", "<|audio|>",
    "<|audio_end|>",
]  # fmt: skip
# Qwen2.5's template, as MiniCPM-o's tokenizer has it, without the default system message.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
AUDIO_CHUNK = FRAMES_A_SECOND // CONFIG["audio_pool_step"]  # tokens of a second
NEW_WEIGHT = 0.02  # deviation of the weights that read what nothing writes yet


def tokenizer(work, concepts: list[dict]) -> Qwen2TokenizerFast:
    """The text model's vocabulary and, behind it, MiniCPM-o's tokens."""
    tokens = vocabulary.language_model_tokenizer(work, concepts)
    tokens.add_special_tokens({"additional_special_tokens": vocabulary.SPECIAL_TOKENS + SPECIAL_TOKENS})
    tokens.chat_template = CHAT_TEMPLATE
    return tokens


def config(tokens: Qwen2TokenizerFast) -> dict:
    ids = {"bos_token_id": tokens.convert_tokens_to_ids("<|endoftext|>"), "eos_token_id": tokens.eos_token_id}
    return {**CONFIG, "vocab_size": len(tokens), **ids}


# ---- prompts: what the published processor makes of "(<image>./</image>)\n" and "(<audio>./</audio>)\n" ---


def picture(count: int = 1) -> str:
    """Pictures, or frames of a video, in front of the text."""
    return ("<image>" + "<unk>" * CONFIG["query_num"] + "</image>\n") * count


def sound(tokens: int) -> str:
    """A clip, every second wrapped by itself."""
    seconds = [min(AUDIO_CHUNK, tokens - start) for start in range(0, tokens, AUDIO_CHUNK)]
    return "".join("<|audio_start|>" + "<unk>" * second + "<|audio_end|>" for second in seconds) + "\n"


# ---- first weights -------------------------------------------------------------------------------


def embedding(tokens: Qwen2TokenizerFast, text: dict[str, torch.Tensor]) -> torch.Tensor:
    """[vocabulary, hidden]: the text model's, widened; MiniCPM-o's own tokens get random rows, always the same."""
    old = text["model.embed_tokens.weight"]
    new = torch.zeros(len(tokens), CONFIG["hidden_size"])
    new[:, : old.shape[1]].normal_(std=old.std().item(), generator=torch.Generator().manual_seed(0))
    new[: len(old), : old.shape[1]] = old
    return new


@torch.no_grad()
def widen(model: MiniCpmO, tokens: Qwen2TokenizerFast, text: dict[str, torch.Tensor]) -> None:
    """Puts the text model's tensors (`model.layers.0...`, Qwen2.5-VL's names) into the wider one.

    The new channels are written by nothing and read by small random weights: all states are those of the text model,
    with zeros behind, and every new weight gets a gradient. RMSNorm divides by the mean over more channels, which its
    weight makes good. Of the four query heads that share a key, three are the old ones.
    """
    narrow = text["model.norm.weight"].shape[0]
    wide, head = CONFIG["hidden_size"], CONFIG["hidden_size"] // CONFIG["num_attention_heads"]
    groups = CONFIG["num_key_value_heads"]
    old_heads = narrow // head // groups
    new_heads = CONFIG["num_attention_heads"] // groups
    rows_of_heads = torch.cat([torch.arange(old_heads * head) + group * new_heads * head for group in range(groups)])
    state = model.llm.state_dict()
    for name, old in text.items():
        if name not in state:
            continue
        new = state[name]
        if "norm" in name:
            new.fill_(old.mean() * math.sqrt(narrow / wide))
            new[:narrow] = old * math.sqrt(narrow / wide)
        elif "embed_tokens" in name:
            new.copy_(embedding(tokens, text))
        elif "q_proj" in name:
            new.normal_(std=NEW_WEIGHT)
            if old.ndim == 2:
                new[rows_of_heads, :narrow] = old
            else:
                new[rows_of_heads] = old
        elif "o_proj" in name:
            new.zero_()
            new[:narrow, rows_of_heads] = old
        elif "down_proj" in name:
            new.zero_()
            new[:narrow] = old
        elif old.ndim == 2:  # keys, values, gates: they read the residual stream
            new.normal_(std=NEW_WEIGHT)
            new[:, :narrow] = old
        else:
            new.copy_(old)
