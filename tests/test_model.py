"""The network: sizes, frames, receptive field, and independence from the batch."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CONFIG, tiny_model
from torch import Tensor

from crnn.architecture import PRESETS, Conv, ModelConfig, Pool
from crnn.model import CRNN, MapToSequence

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("preset", "millions"),
    # 8.3 is the paper's Table 3. Counted for the 36 symbols of its experiments and the blank.
    [("vgg-bilstm", 8.3), ("table1", 8.7), ("base", 2.8), ("small", 1.9), ("music", 0.9)],
)
def test_parameters(preset: str, millions: float) -> None:
    with torch.device("meta"):
        model = CRNN(PRESETS[preset], 37)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_height_of_the_feature_maps(preset: str) -> None:
    config = PRESETS[preset]
    assert config.map_height == (4 if preset == "music" else 1)
    with torch.device("meta"):
        model = CRNN(config, 37)
        maps, _ = model.features(torch.empty(2, 1, config.height, 100), None)
    assert maps.shape[2] == config.map_height


def test_the_papers_network_for_music() -> None:
    """Section 3.4: Table 1 without the 4th and 6th convolution, LSTMs in one direction."""
    table1 = [layer for layer in PRESETS["table1"].layers if isinstance(layer, Conv)]
    music = PRESETS["table1-music"]
    assert [layer for layer in music.layers if isinstance(layer, Conv)] == [
        *table1[:3], table1[4], table1[6],
    ]  # fmt: skip
    pools = [layer for layer in PRESETS["table1"].layers if isinstance(layer, Pool)]
    assert [layer for layer in music.layers if isinstance(layer, Pool)] == pools
    assert (music.rnn_layers, music.bidirectional, music.hidden) == (2, False, 256)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("width", [16, 17, 18, 19, 31, 100, 101])
def test_frames(preset: str, width: int) -> None:
    with torch.device("meta"):
        model = CRNN(PRESETS[preset], 37)
        maps, _ = model.features(torch.empty(1, 1, PRESETS[preset].height, width), None)
    assert maps.shape[3] == model.frames(width)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_too_narrow_images_have_no_frames(preset: str) -> None:
    with torch.device("meta"):
        model = CRNN(PRESETS[preset], 37)
    narrowest = next(width for width in range(1, 100) if model.frames(width) >= 1)
    assert [model.frames(width) for width in range(1, narrowest)] == [0] * (narrowest - 1)
    assert 4 <= narrowest <= 8


def test_output() -> None:
    model = tiny_model()
    logits, lengths = model(torch.randn(3, 1, 32, 100))
    assert logits.shape == (model.frames(100), 3, 9)
    assert logits.dtype == torch.float32
    assert lengths.tolist() == [model.frames(100)] * 3


def test_logits_stay_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = tiny_model()(torch.randn(1, 1, 32, 40))
    assert logits.dtype == torch.float32


# ---- Map-to-Sequence --------------------------------------------------------------------------


def test_map_to_sequence_concatenates_columns() -> None:
    maps = torch.randn(2, 3, 4, 5)
    frames = MapToSequence()(maps)
    assert frames.shape == (5, 2, 12)
    for n in range(2):
        for t in range(5):
            # Section 2.1: the i-th vector is the concatenation of the i-th columns of all maps.
            column = torch.cat([maps[n, channel, :, t] for channel in range(3)])
            assert torch.equal(frames[t, n], column)


def test_map_to_sequence_backward_inverts_it() -> None:
    """Section 2.2: the differentials are concatenated back into maps."""
    maps = torch.randn(2, 3, 4, 5, requires_grad=True)
    layer = MapToSequence()
    (gradient,) = torch.autograd.grad(layer(maps), maps, layer(maps).detach())
    assert torch.equal(gradient, maps)


# ---- receptive field --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*sorted(PRESETS), "tiny"])
def test_receptive_field_is_what_the_gradient_reaches(name: str) -> None:
    """Figure 2. The LSTM mixes all frames, so this looks at the convolutions' output."""
    torch.manual_seed(0)
    model = CRNN(dataclasses.replace(thin(name), standardize=False), 5).double().eval()
    # A ReLU that is off or a maximum that is elsewhere hides a pixel: positive weights and images
    # with their maximum anywhere, summed over a few, show them all.
    with torch.no_grad():
        for module in model.convs.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.abs_()
            elif isinstance(module, torch.nn.BatchNorm2d):  # zero where a residual block ends
                module.weight.fill_(1.0)
    width = 120
    images = torch.rand(24, 1, model.config.height, width, dtype=torch.float64, requires_grad=True)
    maps = convolve(model, images)
    for frame in (0, 1, model.frames(width) // 2, model.frames(width) - 1):
        (gradient,) = torch.autograd.grad(maps[..., frame].sum(), images, retain_graph=True)
        columns = gradient.abs().sum((0, 1, 2)).nonzero().flatten().tolist()
        start, end = model.receptive_field(frame)
        assert (columns[0], columns[-1] + 1) == (max(0, start), min(width, end))


def thin(name: str) -> ModelConfig:
    """A preset with few channels: the geometry, without the arithmetic."""
    if name == "tiny":
        return CONFIG
    layers = tuple(
        dataclasses.replace(layer, channels=6) if isinstance(layer, Conv) else layer
        for layer in PRESETS[name].layers
    )
    return dataclasses.replace(PRESETS[name], layers=layers, hidden=8)


def convolve(model: CRNN, images: Tensor) -> Tensor:
    """The convolutional part alone; standardisation would look at the whole image."""
    assert not model.config.standardize
    return model.features(images, None)[0]


def test_pixels_outside_the_receptive_field_change_nothing() -> None:
    model = tiny_model().double()
    image = torch.randn(1, 1, 32, 120, dtype=torch.float64)
    before = convolve(model, image)
    frame = 12
    start, end = (int(edge) for edge in model.receptive_field(frame))
    outside = image.clone()
    outside[..., :start] += 1.0
    outside[..., end:] -= 1.0
    assert torch.equal(convolve(model, outside)[..., frame], before[..., frame])
    inside = image.clone()
    inside[..., (start + end) // 2] += 1.0
    assert not torch.equal(convolve(model, inside)[..., frame], before[..., frame])


def test_frame_step() -> None:
    for config in PRESETS.values():
        with torch.device("meta"):
            model = CRNN(config, 37)
        assert model.receptive_field(7)[0] - model.receptive_field(6)[0] == model.frame_step == 4


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_folded_network_gives_the_same_logits(name: str) -> None:
    torch.manual_seed(6)
    model = CRNN(thin(name), 11).double().eval()
    randomise_norms(model)
    folded = model.folded()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    images, widths = torch.randn(3, 1, model.config.height, 60).double(), torch.tensor([60, 9, 37])
    with torch.inference_mode():
        expected, lengths = model(images, widths)
        logits, folded_lengths = folded(images, widths)
    assert torch.equal(lengths, folded_lengths)
    for n, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(logits[:length, n], expected[:length, n])


# ---- independence from the batch --------------------------------------------------------------


@pytest.mark.parametrize("name", [*sorted(PRESETS), "tiny"])
@pytest.mark.parametrize("padding", [0.0, 1e6, float("nan"), float("inf")])
def test_an_image_gives_the_same_logits_alone_and_beside_wider_ones(
    name: str, padding: float
) -> None:
    torch.manual_seed(1)
    model = CRNN(thin(name), 11).double().eval()
    randomise_norms(model)
    widths = torch.tensor([100, 61, 62, 63, 64, 30])
    height = model.config.height
    images = [torch.randn(1, 1, height, w, dtype=torch.float64) for w in widths.tolist()]
    batch = torch.full((6, 1, height, 100), padding, dtype=torch.float64)
    for i, image in enumerate(images):
        batch[i, :, :, : image.shape[3]] = image[0]
    with torch.inference_mode():
        logits, lengths = model(batch, widths)
        for i, image in enumerate(images):
            alone, _ = model(image)
            assert int(lengths[i]) == len(alone)
            np.testing.assert_allclose(logits[: len(alone), i], alone[:, 0], rtol=1e-9, atol=1e-11)


def randomise_norms(model: CRNN) -> None:
    """Batch norm with shifts: padding that is zero before it is not after it.

    And with scales, which are zero at the end of a new residual block.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0.0, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.bias, 0.0, 0.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)


# ---- residual blocks --------------------------------------------------------------------------

STEM, INNER, LAST = Conv(6), Conv(4, norm=True), Conv(6, 5, 2, norm=True, skip=2)


def residual(*layers: Conv | Pool) -> ModelConfig:
    return ModelConfig((STEM, *layers), hidden=3, height=8)


def test_a_residual_block_adds_its_input_before_the_relu() -> None:
    """He et al. 2016: y = relu(x + F(x)), here with F of two convolutions."""
    torch.manual_seed(3)
    model = CRNN(residual(INNER, LAST), 5).eval()
    randomise_norms(model)
    images = torch.randn(2, 1, 8, 20)
    x = model.convs[0](images)
    inner, last = model.convs[1], model.convs[2]
    inside = last[1](last[0](inner[1](inner[0](x)).relu()))
    torch.testing.assert_close(model.features(images, None)[0], (x + inside).relu())
    assert not torch.equal(inside, torch.zeros_like(inside))


def test_a_new_residual_block_is_the_identity_and_learns() -> None:
    torch.manual_seed(4)
    model = CRNN(residual(INNER, LAST), 5)
    images = torch.randn(2, 1, 8, 20)
    maps, _ = model.features(images, None)
    assert torch.equal(maps, model.convs[0](images))
    (maps * torch.randn_like(maps)).sum().backward()
    norm = model.convs[2][1]
    assert norm.weight.grad.abs().max() > 0


def test_a_map_may_be_added_to_the_next_convolution() -> None:
    torch.manual_seed(5)
    model = CRNN(residual(Conv(6, norm=True, skip=1)), 5).eval()
    randomise_norms(model)
    x = model.convs[0](images := torch.randn(1, 1, 8, 9))
    conv, norm, _ = model.convs[1]
    torch.testing.assert_close(model.features(images, None)[0], (x + norm(conv(x))).relu())


def test_places_of_a_network_with_fewer_residual_blocks() -> None:
    block = (INNER, LAST)
    for layers, start, expected in [
        ((STEM, *block), (STEM,), [0]),
        ((STEM, *block), (STEM, *block), [0, 1, 2]),
        ((STEM, *block, *block, Pool()), (STEM, *block, Pool()), [0, 1, 2, 5]),
        # What follows the block looks like its beginning.
        ((STEM, *block, INNER), (STEM, INNER), [0, 3]),
        ((STEM, *block), (STEM, INNER), None),
        ((STEM,), (STEM, *block), None),  # fewer than it has
        ((STEM, Pool()), (STEM,), None),
        ((STEM, INNER), (STEM, STEM), None),
    ]:
        config, begin = (ModelConfig(which, hidden=3, height=8) for which in (layers, start))
        assert config.places_of(begin) == expected, (layers, start)
        assert config.places_of(dataclasses.replace(begin, hidden=4)) is None
    places = PRESETS["base"].places_of(PRESETS["small"])
    assert places == [0, 1, 2, 3, 4, 5, 8, 9, 10, 13, 14]


# ---- descriptions -----------------------------------------------------------------------------


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_description_survives_json(preset: str) -> None:
    assert ModelConfig.from_dict(PRESETS[preset].to_dict()) == PRESETS[preset]


def described(**changes: Any) -> dict[str, Any]:
    return {**CONFIG.to_dict(), **changes}


def residual_fields(*layers: Conv | Pool) -> dict[str, Any]:
    """As `ModelConfig.to_dict` would give them, were they allowed."""
    return described(
        layers=[
            {"type": type(layer).__name__.lower(), **dataclasses.asdict(layer)} for layer in layers
        ]
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "ModelConfig: not a network description ('layers')"),
        (described(depth=3), "ModelConfig: not a network description"),
        (
            described(layers=[]),
            "ModelConfig: number of layers must be an integer in [1, 256], got 0",
        ),
        (described(layers=["conv"]), "ModelConfig: not a network description"),
        (described(layers=[{"type": "dense"}]), "ModelConfig: not a network description ('dense')"),
        (
            described(layers=[{"type": "conv", "channels": 10**9}]),
            "Conv: channels must be an integer in [1, 65536], got 1000000000",
        ),
        (
            described(layers=[{"type": "conv", "channels": 4, "kernel": "3"}]),
            "Conv: kernel must be an integer in [1, 64], got '3'",
        ),
        (
            described(layers=[{"type": "pool", "stride": [2, 0]}]),
            "Pool: stride[1] must be an integer in [1, 64], got 0",
        ),
        (
            described(layers=[{"type": "pool", "padding": [0, 2]}]),
            "Pool: padding[1] must be an integer in [0, 1], got 2",
        ),
        (
            described(layers=[{"type": "conv", "channels": 4, "norm": True, "skip": 17}]),
            "Conv: skip must be an integer in [0, 16], got 17",
        ),
        (
            described(layers=[{"type": "conv", "channels": 4, "skip": 1}]),
            "Conv: norm must be true with skip, got false",
        ),
        *(
            (
                residual_fields(*layers),
                f"ModelConfig: skip of layer {len(layers) - 1} must span convolutions that keep "
                f"the size, with a layer before them, got 2",
            )
            for layers in (
                [INNER, LAST],  # nothing before them
                [LAST],
                [STEM, Pool((3, 3), (1, 1), (1, 1)), LAST],
                [STEM, Conv(4, 2, 0), LAST],
                [STEM, INNER, Conv(6, 3, 0, norm=True, skip=2)],
            )
        ),
        (
            residual_fields(STEM, INNER, Conv(4, norm=True, skip=2)),
            "ModelConfig: channels of layer 2 must be the 6 that it adds, got 4",
        ),
        (described(hidden=0), "ModelConfig: hidden must be an integer in [1, 65536], got 0"),
        (
            described(rnn_layers=10**6),
            "ModelConfig: rnn_layers must be an integer in [1, 64], got 1000000",
        ),
        (described(join=True), "ModelConfig: join must be an integer in [0, 65536], got True"),
        (
            described(height=8),
            "ModelConfig: layers must leave a feature map at least 1 high, got 0 from images 8",
        ),
    ],
)
def test_bad_descriptions(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        ModelConfig.from_dict(fields)


def test_parts_have_the_defaults_of_the_paper() -> None:
    assert Conv(64) == Conv(64, kernel=3, padding=1, norm=False)
    assert Pool() == Pool((2, 2), (2, 2), (0, 0))
