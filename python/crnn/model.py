"""The network: convolutions, Map-to-Sequence, recurrent layers (section 2 and Table 1).

Shapes: images ``[N, 1, H, W]`` -> feature maps ``[N, channels, 1, T]`` -> frames
``[T, N, channels]`` -> logits ``[T, N, C]``.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from crnn.architecture import Conv, ModelConfig, Pool
from crnn_ext import LSTM


class MapToSequence(nn.Module):
    """Feature maps to frames: column i of all maps, concatenated, is frame i (section 2.1).

    ``[N, channels, height, T] -> [T, N, channels * height]``; backward inverts it (section 2.2).
    """

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(1, 2).permute(2, 0, 1)


class ConvBlock(nn.Sequential):
    """Convolution, optional batch norm, the sum with `added` if there is one, ReLU."""

    def __init__(self, channels_in: int, conv: Conv) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(
                channels_in, conv.channels, conv.kernel, padding=conv.padding, bias=not conv.norm
            )
        ]
        if conv.norm:
            layers.append(nn.BatchNorm2d(conv.channels))
        if conv.skip:  # what it adds to begins as nothing: any depth trains (Goyal et al. 2017)
            nn.init.zeros_(layers[-1].weight)  # type: ignore[arg-type]
        super().__init__(*layers, nn.ReLU(inplace=True))

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        *linear, relu = self
        for module in linear:
            x = module(x)
        return cast(Tensor, relu(x if added is None else x + added))


class CRNN(nn.Module):
    """Images to logits for each frame.

    Args:
        config: the network; see `PRESETS`.
        num_classes: classes including the blank (`Charset.num_classes`).

    Source: section 2 and Table 1 of the paper.
    """

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.convs = nn.ModuleList()
        channels = 1
        for layer in config.layers:
            if isinstance(layer, Conv):
                self.convs.append(ConvBlock(channels, layer))
                channels = layer.channels
            else:
                self.convs.append(nn.MaxPool2d(layer.kernel, layer.stride, layer.padding))
        self.map_to_sequence = MapToSequence()
        self.rnn = nn.ModuleList()
        self.joins = nn.ModuleList()
        features = config.map_channels * config.map_height
        directions = 2 if config.bidirectional else 1
        for i in range(config.rnn_layers):
            self.rnn.append(LSTM(features, config.hidden, bidirectional=config.bidirectional))
            features = config.hidden * directions
            if config.join and i + 1 < config.rnn_layers:
                self.joins.append(nn.Linear(features, config.join))
                features = config.join
        self.head = nn.Linear(features, num_classes)

    def forward(self, images: Tensor, widths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of every frame.

        Args:
            images: ``[N, 1, H, W]`` float, H as in the config, grey levels scaled to [-1, 1].
            widths: ``[N]`` int64, each image's true width in pixels; columns beyond are padding
                and change nothing: an image gives the logits it gives alone. None: all W.

        Returns:
            logits ``[T, N, C]`` float32 and lengths ``[N]`` int64, the true frames of each image.

        Raises:
            ValueError: a width beyond W.
            RuntimeError: images of another height, or so narrow that no frame is left (`frames`).
        """
        maps, lengths = self.features(images, widths)
        # The recurrent part runs in float32 also under autocast: it is small, and CTC needs it.
        with torch.autocast(images.device.type, enabled=False):
            frames = self.map_to_sequence(maps.to(torch.promote_types(maps.dtype, torch.float32)))
            for i, lstm in enumerate(self.rnn):
                frames, _ = lstm(frames, lengths=None if widths is None else lengths)
                if i < len(self.joins):
                    frames = self.joins[i](frames)
            return self.head(frames), lengths

    def features(self, images: Tensor, widths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Feature maps ``[N, channels, map height, T]`` and the true frames of each image ``[N]``.

        Arguments as of `forward`.
        """
        count, _, _, width = images.shape
        lengths = torch.full((count,), width, device=images.device) if widths is None else widths
        x = images if widths is None else _mask_columns(images.clone(), lengths)
        if self.config.standardize:
            x = _standardize(x, lengths)
        skips = [layer.skip if isinstance(layer, Conv) else 0 for layer in self.config.layers]
        inputs: list[Tensor] = []  # of the last layers, to add again
        for layer, skip, module in zip(self.config.layers, skips, self.convs, strict=True):
            inputs = [*inputs, x][-max(1, *skips) :]
            x = module(x, inputs[-skip]) if skip else module(x)
            lengths = _out_width(layer, lengths)
            # Zero is what a convolution pads with and never exceeds a ReLU's output in a pooling
            # window, so zeroed columns act as the edge of the image does.
            if widths is not None and module is not self.convs[-1]:
                x = _mask_columns(x, lengths)
        return x, lengths

    def folded(self) -> CRNN:
        """A copy for reading alone, of the same results.

        Batch norms are part of the convolutions before them, and channels come last in memory:
        of other layouts torch's pooling on a CPU takes ten times as long.
        """
        model: CRNN = copy.deepcopy(self).eval()
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for block in model.convs:
            if isinstance(block, ConvBlock) and isinstance(block[1], nn.BatchNorm2d):
                block[0] = fuse_conv_bn_eval(cast(nn.Conv2d, block[0]), block[1])
                del block[1]
        return model

    def frames(self, width: int) -> int:
        """Frames of an image `width` pixels wide; 0 when it is too narrow for some layer."""
        for layer in self.config.layers:
            width = _out_width(layer, width)
            if width < 1:  # the padding of a later layer must not bring it back
                return 0
        return width

    def receptive_field(self, frame: int) -> tuple[float, float]:
        """The columns of the scaled image that frame `frame` sees (Figure 2).

        Returns:
            (start, end) in pixels of the network's input, end exclusive; they may lie beyond the
            image's edges, where the network sees padding.
        """
        size, step, start = 1, 1, 0
        for layer in self.config.layers:
            kernel, stride, padding = _horizontal(layer)
            start -= padding * step
            size += (kernel - 1) * step
            step *= stride
        return float(start + frame * step), float(start + frame * step + size)

    @property
    def frame_step(self) -> int:
        """Pixels of the network's input from one frame to the next."""
        step = 1
        for layer in self.config.layers:
            step *= _horizontal(layer)[1]
        return step


def _horizontal(layer: Conv | Pool) -> tuple[int, int, int]:
    """(kernel, stride, padding) along the width."""
    if isinstance(layer, Conv):
        return layer.kernel, 1, layer.padding
    return layer.kernel[1], layer.stride[1], layer.padding[1]


def _out_width(layer: Conv | Pool, width: Any) -> Any:
    """The width after `layer`; `width` is an int or an integer tensor."""
    kernel, stride, padding = _horizontal(layer)
    return (width + 2 * padding - kernel) // stride + 1


def _standardize(x: Tensor, widths: Tensor) -> Tensor:
    """Zero mean and unit deviation over the true pixels of each image; padding stays zero."""
    pixels = (widths * x.shape[2]).clamp(min=1).to(x.dtype)[:, None, None, None]
    mean = x.sum((1, 2, 3), keepdim=True) / pixels
    centred = _mask_columns(x - mean, widths)
    deviation = (centred.square().sum((1, 2, 3), keepdim=True) / pixels).sqrt()
    return centred / deviation.clamp(min=0.01)  # a blank image stays blank


def _mask_columns(x: Tensor, widths: Tensor) -> Tensor:
    """Zero the columns of ``x [N, channels, H, W]`` from each sample's width on.

    Without gradients `x` itself is changed, which spares a copy and keeps channels last.
    """
    beyond = torch.arange(x.shape[3], device=x.device) >= widths[:, None]
    fill = x.masked_fill if torch.is_grad_enabled() else x.masked_fill_
    return fill(beyond[:, None, None, :], 0.0)
