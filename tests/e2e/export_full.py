# SPDX-License-Identifier: Apache-2.0
"""Networks of `transformers` in the sizes that their configurations have.

In: a row of FULL, as export_rows.py has them. Out: a folder as exports.py makes
it. Nothing is made tiny; some have fewer layers or words, so that an export
fits into the memory and the patience of a laptop.
"""

import exports
from export_rows import TINY, row

WORDS = "input_ids=1x128 attention_mask=1x128"
EDGE = "pixel_values=1x3x224x224"
HERTZ = "input_values=1x16000"
SMALL = dict(vocab_size=32000)


def image(model_type, network, inputs=EDGE, **config):
    return row(model_type, network, inputs, exporters="script", **config)


def text(model_type, network, inputs=WORDS, **config):
    return row(model_type, network, inputs, exporters="script", **config)


def decoder(model_type, network, **config):
    return row(model_type, network, "input_ids=1x64", exporters="dynamo",
               **config)


FULL = [
    image("resnet", "ResNetForImageClassification"),
    image("vit", "ViTForImageClassification"),
    image("swin", "SwinForImageClassification"),
    image("convnext", "ConvNextForImageClassification"),
    image("segformer", "SegformerForSemanticSegmentation",
          "pixel_values=1x3x512x512"),
    image("mobilenet_v1", "MobileNetV1ForImageClassification"),
    image("mobilenet_v2", "MobileNetV2ForImageClassification"),
    image("efficientnet", "EfficientNetForImageClassification",
          width_coefficient=1.0, depth_coefficient=1.0, image_size=224,
          hidden_dim=1280),
    image("regnet", "RegNetForImageClassification"),
    image("levit", "LevitForImageClassification"),
    image("poolformer", "PoolFormerForImageClassification"),
    image("mobilevit", "MobileViTForImageClassification",
          "pixel_values=1x3x256x256"),
    image("pvt", "PvtForImageClassification"),
    image("cvt", "CvtForImageClassification"),
    image("dinov2", "Dinov2Model"),
    image("beit", "BeitModel"),
    image("focalnet", "FocalNetForImageClassification"),
    image("swiftformer", "SwiftFormerForImageClassification"),
    image("glpn", "GLPNForDepthEstimation"),
    image("detr", "DetrForObjectDetection", "pixel_values=1x3x480x640",
          use_timm_backbone=False, use_pretrained_backbone=False,
          backbone_config={"model_type": "resnet",
                           "out_features": ["stage4"]}, backbone=None),
    image("yolos", "YolosForObjectDetection", "pixel_values=1x3x512x864"),
    image("dpt", "DPTForDepthEstimation", "pixel_values=1x3x384x384"),
    image("swin2sr", "Swin2SRForImageSuperResolution",
          "pixel_values=1x3x64x64"),
    image("timesformer", "TimesformerModel", "pixel_values=1x8x3x224x224",
          num_hidden_layers=4),
    image("vjepa2", "VJEPA2Model", "pixel_values_videos=1x4x3x64x64"),
    text("bert", "BertForMaskedLM"),
    text("distilbert", "DistilBertForMaskedLM"),
    text("roberta", "RobertaForSequenceClassification"),
    text("electra", "ElectraForPreTraining"),
    text("mpnet", "MPNetForMaskedLM"),
    text("squeezebert", "SqueezeBertModel"),
    text("convbert", "ConvBertModel"),
    text("mobilebert", "MobileBertForMaskedLM"),
    text("nystromformer", "NystromformerModel"),
    text("modernbert", "ModernBertForMaskedLM"),
    text("deberta", "DebertaModel"),
    text("layoutlm", "LayoutLMModel",
         WORDS + " bbox=1x128x4 token_type_ids=1x128:zeros"),
    text("albert", "AlbertModel", hidden_size=768, num_attention_heads=12,
         intermediate_size=3072),
    text("xlnet", "XLNetModel", "input_ids=1x128", d_model=768, n_layer=6,
         n_head=12, d_inner=3072),
    text("funnel", "FunnelModel"),
    text("gpt2", "GPT2LMHeadModel", "input_ids=1x128"),
    text("opt", "OPTForCausalLM", "input_ids=1x64"),
    text("gpt_neox", "GPTNeoXForCausalLM", "input_ids=1x64",
         num_hidden_layers=4, hidden_size=1024, num_attention_heads=16,
         intermediate_size=4096),
    text("phi", "PhiForCausalLM", "input_ids=1x64", num_hidden_layers=6,
         **SMALL),
    text("mamba", "MambaForCausalLM", "input_ids=1x32", num_hidden_layers=4,
         vocab_size=16000),
    text("olmoe", "OlmoeForCausalLM", "input_ids=1x16", num_hidden_layers=2,
         hidden_size=512, intermediate_size=512, num_experts=16,
         vocab_size=8000),
    decoder("qwen2", "Qwen2ForCausalLM", hidden_size=896,
            intermediate_size=4864, num_hidden_layers=12,
            num_attention_heads=14, num_key_value_heads=2, **SMALL),
    decoder("gemma", "GemmaForCausalLM", hidden_size=1024,
            intermediate_size=4096, num_hidden_layers=6, num_attention_heads=8,
            num_key_value_heads=1, head_dim=256, **SMALL),
    text("t5", "T5ForConditionalGeneration",
         "input_ids=1x128 decoder_input_ids=1x32"),
    text("bart", "BartModel", "input_ids=1x128 decoder_input_ids=1x32",
         encoder_layers=6, decoder_layers=6, d_model=768,
         encoder_ffn_dim=3072, decoder_ffn_dim=3072),
    text("whisper", "WhisperModel",
         "input_features=1x80x3000 decoder_input_ids=1x16"),
    text("clip", "CLIPModel", "input_ids=2x77 " + EDGE),
    text("wav2vec2", "Wav2Vec2Model", HERTZ),
    text("hubert", "HubertModel", HERTZ),
    text("wavlm", "WavLMModel", HERTZ),
    text("audio-spectrogram-transformer", "ASTForAudioClassification",
         "input_values=1x1024x128"),
    text("encodec", "EncodecModel", "input_values=1x1x24000"),
]


def find_or_make(one, exporter, folder):
    """As in exports.py, without the sizes of TINY."""
    tiny = dict(TINY)
    TINY.clear()
    try:
        return exports.find_or_make(one, exporter, folder)
    finally:
        TINY.update(tiny)
