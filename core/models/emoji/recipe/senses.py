"""What the language model that sees and hears is made of: its numbers and its prompts.

`CONFIG` is the published `config.json` with small numbers, but for the vocabulary's.
"""

from transformers import Qwen2TokenizerFast

from minicpm_o import FRAMES_A_SECOND

CONCEPT_SLOTS = 3  # tokens of the longest concept's name
SLOTS = CONCEPT_SLOTS + 2  # with colour and style: what a tower tells (slots.py)
CONFIG = {
    "architectures": ["MiniCPMO"], "model_type": "minicpmo", "torch_dtype": "float32", "transformers_version": "4.49.0",
    # A multiple of 128 for the resampler's heads. Every head has its own values: words are copied through them.
    "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 8,
    "num_key_value_heads": 8, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
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
AUDIO_CHUNK = FRAMES_A_SECOND // CONFIG["audio_pool_step"]  # tokens of a second


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
