"""Models of transformers, built from small random configurations and saved to a folder."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import chelsea
from transformers import (
    BertConfig,
    BertModel,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from dax_lightning import MosaicDax, explain, from_model
from dax_lightning.black_box.huggingface import image_input_of
from dax_lightning.errors import InputError

NAMES = {0: "cat", 1: "dog", 2: "none"}
LABELS = {"id2label": NAMES, "label2id": {name: key for key, name in NAMES.items()}}
PHOTO = Image.fromarray(chelsea())


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    net = ViTForImageClassification(ViTConfig(**small, image_size=64, patch_size=16, **LABELS))
    with torch.no_grad():
        for one in net.parameters():
            one.mul_(8)
    net.save_pretrained(folder)
    ViTImageProcessor(size={"height": 64, "width": 64}, image_mean=[0.5, 0.4, 0.3], image_std=[0.25] * 3).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def wav2vec(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wav2vec")
    torch.manual_seed(0)
    make: Any = Wav2Vec2Config
    config = make(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8), conv_stride=(5, 4),
        conv_kernel=(10, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        classifier_proj_size=8, **LABELS,
    )  # fmt: skip
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(folder)
    return folder


def refused(match, *args, **more):
    with pytest.raises(InputError, match=match) as told:
        from_model(*args, **more)
    assert "\n" not in str(told.value)


def test_a_folder_answers_as_its_own_pipeline_does(vit):
    box = from_model(vit)
    assert (box.input.shape, box.input.crop, box.classes) == ((3, 64, 64), "squash", ("cat", "dog", "none"))
    net, processor = ViTForImageClassification.from_pretrained(vit).eval(), ViTImageProcessor.from_pretrained(vit)
    with torch.no_grad():
        wanted = net(**processor(PHOTO, return_tensors="pt")).logits.softmax(1)
    answer = box(box.input.prepare(PHOTO)[None])
    assert wanted.max() < 0.99
    assert torch.allclose(answer, wanted, atol=0.02)
    rows = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), 0.25
    with torch.no_grad():
        assert torch.allclose(box(rows), net((rows - mean) / std).logits.softmax(1), atol=1e-5)


def test_a_folder_is_explained_and_can_be_looked_into(vit):
    box = from_model(vit)
    assert MosaicDax(box, q=100).explain(chelsea(), "dog").saliency.std() > 0
    assert explain(box, chelsea(), "dog", "gradient").saliency.std() > 0


def test_the_fingerprint_is_that_of_weights_and_configuration(vit, tmp_path):
    for file in vit.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = from_model(tmp_path).fingerprint
    assert before == from_model(vit).fingerprint
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-6}), encoding="utf-8")
    assert from_model(tmp_path).fingerprint != before


def test_several_labels_as_the_configuration_says(vit, tmp_path):
    net = ViTForImageClassification.from_pretrained(vit, problem_type="multi_label_classification")
    net.save_pretrained(tmp_path)
    ViTImageProcessor.from_pretrained(vit).save_pretrained(tmp_path)
    assert from_model(tmp_path).multi_label
    assert not from_model(tmp_path, multi_label=False).multi_label


def test_a_model_of_sound_takes_waves_at_its_rate(wav2vec):
    box = from_model(wav2vec, samples=4000)
    assert (box.input.rate, box.input.shape, box.classes) == (8000, (1, 4000), ("cat", "dog", "none"))
    waves = torch.randn(2, 1, 4000, generator=torch.Generator().manual_seed(0)).clamp(-1, 1) / 4
    net = Wav2Vec2ForSequenceClassification.from_pretrained(wav2vec).eval()
    scaled = (waves - waves.mean(2, keepdim=True)) / (waves.var(2, keepdim=True, unbiased=False) + 1e-7).sqrt()
    with torch.no_grad():
        assert torch.allclose(box(waves), net(scaled[:, 0]).logits.softmax(1), atol=1e-5)
    assert explain(box, waves[0].numpy(), "cat", "dax", q=60).saliency.shape == (4000,)


def test_processors_that_crop():
    crops = ViTImageProcessor(size={"shortest_edge": 80}, do_center_crop=True, crop_size={"height": 64, "width": 64}, resample=3)
    input, remarks = image_input_of(crops)
    assert (input.size, input.crop_pct, input.crop, input.interpolation, remarks) == ((64, 64), 0.8, "center", "bicubic", ())
    theirs = np.asarray(crops(PHOTO, do_normalize=False, return_tensors="np")["pixel_values"][0])
    assert (torch.tensor(theirs) - input.prepare(PHOTO)).abs().mean() < 0.01
    assert image_input_of(crops, crop="squash")[0].crop == "squash"
    input, remarks = image_input_of(ConvNextImageProcessor(size={"shortest_edge": 56}, crop_pct=0.875))
    assert (input.size, input.crop_pct, remarks) == ((56, 56), 0.875, ())
    input, remarks = image_input_of(ViTImageProcessor(size={"shortest_edge": 56}))
    assert (input.size, input.crop) == ((56, 56), "center")
    assert remarks[0].startswith("the model's processor keeps all of a photograph")


def test_convnext(tmp_path):
    torch.manual_seed(0)
    net = ConvNextForImageClassification(ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], **LABELS))
    net.save_pretrained(tmp_path)
    ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875).save_pretrained(tmp_path)
    assert from_model(tmp_path)(torch.rand(1, 3, 64, 64)).shape == (1, 3)


def test_models_that_are_not_taken_are_told(vit, tmp_path):
    refused("model=OWNER/NONE is not here .*black_box.download=true on the command line", "hf:OWNER/NONE")
    refused("has no config.json: save the model there by model.save_pretrained", tmp_path)
    for file in vit.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(ViTForImageClassification.from_pretrained(vit).state_dict(), tmp_path / "pytorch_model.bin")
    refused("no .safetensors file: .*pickled weights are not read", tmp_path)
    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    ).save_pretrained(tmp_path)
    refused("is a BertModel: wanted a model for the classification of images or of sound", tmp_path)


def test_without_transformers_the_extra_is_named(vit, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(r"needs transformers: pip install 'dax-lightning\[huggingface\]'", vit)


def test_pixels_that_are_scaled_to_another_range(vit, tmp_path):
    net = ViTForImageClassification.from_pretrained(vit).eval()
    net.save_pretrained(tmp_path)
    ViTImageProcessor(
        size={"height": 64, "width": 64}, rescale_factor=1 / 127.5, image_mean=[1.0] * 3, image_std=[0.5] * 3
    ).save_pretrained(tmp_path)
    rows = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(from_model(tmp_path)(rows), net((2 * rows - 1) / 0.5).logits.softmax(1), atol=1e-5)
