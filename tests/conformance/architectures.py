"""Tiny models of the architectures that adapters are published for, as released transformers make and save them, random
weights. Those with fused experts are in test_experts.py."""

import transformers as t

SMALL = dict(vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=2)
GROUPED = dict(**SMALL, num_key_value_heads=2)


def encoder_decoder(**sizes):
    return dict(vocab_size=64, d_model=24, pad_token_id=2, eos_token_id=1, decoder_start_token_id=0, **sizes)


def llava():
    vision = t.CLIPVisionConfig(hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, image_size=8,
                                patch_size=4, projection_dim=16)
    text = t.LlamaConfig(**{**GROUPED, "vocab_size": 68})
    return t.LlavaForConditionalGeneration(t.LlavaConfig(vision_config=vision, text_config=text, image_token_index=66))


def qwen2_vl():
    vision = dict(depth=2, embed_dim=16, hidden_size=24, num_heads=2, mlp_ratio=2, patch_size=4, spatial_merge_size=2,
                  temporal_patch_size=2)
    text = dict(**GROUPED, rope_scaling={"type": "mrope", "mrope_section": [1, 1, 1]})
    return t.Qwen2VLForConditionalGeneration(t.Qwen2VLConfig(vision_config=vision, text_config=text))


def gemma3_with_vision():
    vision = dict(hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4)
    text = dict(**GROUPED, head_dim=6, sliding_window=16)
    return t.Gemma3ForConditionalGeneration(t.Gemma3Config(vision_config=vision, text_config=text, mm_tokens_per_image=4))


ARCHITECTURES = {
    "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**GROUPED)),
    "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**GROUPED, sliding_window=16)),
    "gemma2": lambda: t.Gemma2ForCausalLM(t.Gemma2Config(**GROUPED, head_dim=6, sliding_window=16)),
    "gemma3": lambda: t.Gemma3ForCausalLM(t.Gemma3TextConfig(**GROUPED, head_dim=6, sliding_window=16)),
    "gemma3-vision": gemma3_with_vision,
    "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**GROUPED)),
    "qwen3": lambda: t.Qwen3ForCausalLM(t.Qwen3Config(**GROUPED, head_dim=6)),
    "phi3": lambda: t.Phi3ForCausalLM(t.Phi3Config(**GROUPED)),
    "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(vocab_size=64, n_positions=64, n_embd=24, n_layer=2, n_head=4,
                                                   bos_token_id=0, eos_token_id=1)),
    "gpt-neox": lambda: t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**SMALL)),
    "falcon": lambda: t.FalconForCausalLM(t.FalconConfig(vocab_size=64, hidden_size=24, num_hidden_layers=2,
                                                         num_attention_heads=4, bos_token_id=0, eos_token_id=1)),
    "opt": lambda: t.OPTForCausalLM(t.OPTConfig(vocab_size=64, hidden_size=24, ffn_dim=40, num_hidden_layers=2,
                                                num_attention_heads=4, max_position_embeddings=64, word_embed_proj_dim=16,
                                                bos_token_id=0, eos_token_id=1, pad_token_id=2)),
    "bloom": lambda: t.BloomForCausalLM(t.BloomConfig(vocab_size=64, hidden_size=24, n_layer=2, n_head=4, bos_token_id=0,
                                                      eos_token_id=1, pad_token_id=2)),
    "mamba": lambda: t.MambaForCausalLM(t.MambaConfig(vocab_size=64, hidden_size=24, state_size=4, num_hidden_layers=2)),
    "t5": lambda: t.T5ForConditionalGeneration(t.T5Config(**encoder_decoder(d_kv=6, d_ff=40, num_layers=2, num_heads=4))),
    "bart": lambda: t.BartForConditionalGeneration(t.BartConfig(**encoder_decoder(
        encoder_layers=2, decoder_layers=2, encoder_ffn_dim=40, decoder_ffn_dim=40, encoder_attention_heads=4,
        decoder_attention_heads=4, max_position_embeddings=64, bos_token_id=0))),
    "modernbert": lambda: t.ModernBertForMaskedLM(t.ModernBertConfig(
        **SMALL, cls_token_id=3, sep_token_id=4, global_attn_every_n_layers=1)),
    "llava": llava,
    "qwen2-vl": qwen2_vl,
}
