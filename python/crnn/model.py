"""The network: convolutions, Map-to-Sequence, recurrent layers (section 2 and Table 1).

Shapes: images ``[N, 1, H, W]`` -> feature maps ``[N, channels, 1, T]`` -> frames
``[T, N, channels]`` -> logits ``[T, N, C]``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crnn_ext import LSTM


def _check_sizes(part: object, smallest: int, largest: int, **sizes: object) -> None:
    """A description may come from a stranger's file: refuse what no network would have."""
    for name, value in sizes.items():
        if type(value) is not int or not smallest <= value <= largest:
            raise ValueError(
                f"{type(part).__name__}: {name} must be an integer in [{smallest}, {largest}], "
                f"got {value!r}"
            )


@dataclass(frozen=True)
class Conv:
    """A convolution of stride 1, batch norm if `norm`, then ReLU.

    `kernel` and `padding` are pixels in both directions. Raises ValueError for a size out of range.
    """

    channels: int
    kernel: int = 3
    padding: int = 1
    norm: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self, 1, 65536, channels=self.channels)
        _check_sizes(self, 1, 64, kernel=self.kernel)
        _check_sizes(self, 0, 64, padding=self.padding)


@dataclass(frozen=True)
class Pool:
    """Max pooling; every pair is (height, width) in pixels.

    Raises ValueError for a size out of range.
    """

    kernel: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        for axis, (kernel, stride, padding) in enumerate(
            zip(self.kernel, self.stride, self.padding, strict=True)
        ):
            _check_sizes(self, 1, 64, **{f"kernel[{axis}]": kernel, f"stride[{axis}]": stride})
            # Beyond half a window there would be windows of padding alone.
            _check_sizes(self, 0, kernel // 2, **{f"padding[{axis}]": padding})


@dataclass(frozen=True)
class ModelConfig:
    """What a network is made of.

    Attributes:
        layers: the convolutional part, bottom first.
        hidden: units of each LSTM, in each direction.
        rnn_layers: how many LSTMs are stacked.
        bidirectional: whether each runs in both directions.
        join: features of a linear layer after each LSTM but the last, as in the authors'
            released code; 0 for none, as in Table 1.
        height: pixels; every image is scaled to it.
        standardize: bring each image to zero mean and unit deviation first, so that faint and
            strong contrast look alike.

    Raises:
        ValueError: a size out of range, or layers that leave nothing of the height.
    """

    layers: tuple[Conv | Pool, ...]
    hidden: int = 256
    rnn_layers: int = 2
    bidirectional: bool = True
    join: int = 0
    height: int = 32
    standardize: bool = False

    def __post_init__(self) -> None:
        _check_sizes(self, 1, 65536, hidden=self.hidden, height=self.height)
        _check_sizes(self, 1, 64, rnn_layers=self.rnn_layers)
        _check_sizes(self, 0, 65536, join=self.join)
        _check_sizes(self, 1, 256, **{"number of layers": len(self.layers)})
        if self.map_height < 1:
            raise ValueError(
                f"ModelConfig: layers must leave a feature map at least 1 high, "
                f"got {self.map_height} from images {self.height} high"
            )

    @property
    def map_height(self) -> int:
        """Rows of the last feature maps."""
        height = self.height
        for layer in self.layers:
            if isinstance(layer, Conv):
                height += 2 * layer.padding - layer.kernel + 1
            else:
                height = (height + 2 * layer.padding[0] - layer.kernel[0]) // layer.stride[0] + 1
            if height < 1:
                break
        return height

    @property
    def map_channels(self) -> int:
        """Channels of the last feature maps."""
        return next((c.channels for c in reversed(self.layers) if isinstance(c, Conv)), 1)

    def to_dict(self) -> dict[str, Any]:
        """A plain form for JSON; `from_dict` reads it back."""
        fields = dataclasses.asdict(self)
        fields["layers"] = [
            {"type": type(layer).__name__.lower(), **dataclasses.asdict(layer)}
            for layer in self.layers
        ]
        return fields

    def changed(self, changes: Mapping[str, Any]) -> ModelConfig:
        """This description with some of `to_dict`'s values replaced.

        Args:
            changes: nested as `to_dict` is, layers by their number:
                ``{"hidden": 256, "layers": {"0": {"channels": 48}}}``.

        Raises:
            ValueError: a name is unknown, or a value none for it.
        """
        fields = self.to_dict()
        _replace(fields, changes, "model")
        return ModelConfig.from_dict(fields)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ModelConfig:
        """What `to_dict` gave.

        Raises:
            ValueError: what is unknown, missing or out of range, by name.
        """
        kinds: dict[str, type[Conv] | type[Pool]] = {"conv": Conv, "pool": Pool}
        try:
            layers: list[Conv | Pool] = []
            for item in fields["layers"]:
                values: dict[str, Any] = {
                    k: tuple(v) if isinstance(v, list) else v
                    for k, v in item.items()
                    if k != "type"
                }
                layers.append(kinds[item["type"]](**values))
            return cls(**{**fields, "layers": tuple(layers)})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"ModelConfig: not a network description ({error})") from error


def _replace(old: dict[str, Any] | list[Any], changes: Mapping[str, Any], name: str) -> None:
    """Put `changes` in place of the values of `old` with the same names or numbers."""
    for key, new in changes.items():
        at: Any = int(key) if isinstance(old, list) and key.isascii() and key.isdigit() else key
        known = range(len(old)) if isinstance(old, list) else list(old)
        if at not in known:
            raise ValueError(
                f"ModelConfig: {name} must have the names {', '.join(map(str, known))}, got {key!r}"
            )
        if isinstance(new, Mapping) and isinstance(old[at], (dict, list)):
            _replace(old[at], new, f"{name}.{key}")
        elif type(new) is not type(old[at]) and not isinstance(old[at], tuple):
            kind = type(old[at]).__name__
            raise ValueError(f"ModelConfig: {name}.{key} must be {kind}, got {new!r}")
        else:
            old[at] = new


_DOWN = Pool()
# Pooling over height alone keeps more frames; window 2 with padding 1 is the released code's form.
_FLAT = Pool((2, 2), (2, 1), (0, 1))
_TABLE1_FLAT = Pool((2, 1), (2, 1))


def _vgg(c: tuple[int, ...], norms: tuple[int, ...], flat: Pool) -> tuple[Conv | Pool, ...]:
    """The seven convolutions of Table 1; `norms` numbers those with batch norm."""
    convs = [
        Conv(channels, 2 if i == 7 else 3, 0 if i == 7 else 1, i in norms)
        for i, channels in enumerate(c, start=1)
    ]
    return (
        *(convs[0], _DOWN, convs[1], _DOWN, convs[2], convs[3], flat),
        *(convs[4], convs[5], flat, convs[6]),
    )


_FULL = (64, 128, 256, 256, 512, 512, 512)
PRESETS: dict[str, ModelConfig] = {
    # The authors' released network: 8.3 M parameters as in Table 3.
    "vgg-bilstm": ModelConfig(_vgg(_FULL, (3, 5, 7), _FLAT), join=256),
    # Table 1 to the letter: batch norm after the 5th and 6th convolution, no join; 8.7 M.
    "table1": ModelConfig(_vgg(_FULL, (5, 6), _TABLE1_FLAT)),
    # Under 2 M parameters, a quarter of the arithmetic.
    "small": ModelConfig(
        _vgg((32, 64, 128, 128, 192, 256, 256), (1, 2, 3, 4, 5, 6, 7), _FLAT),
        hidden=128,
        join=128,
        standardize=True,
    ),
    # Section 3.4: Table 1 without the 4th and the 6th convolution, and LSTMs in one direction.
    "table1-music": ModelConfig(
        (
            *(Conv(64), _DOWN, Conv(128), _DOWN, Conv(256), _TABLE1_FLAT),
            *(Conv(512, norm=True), _TABLE1_FLAT, Conv(512, 2, 0)),
        ),
        bidirectional=False,
    ),
    # Twice the height, since half a staff space tells two pitches apart; under 1 M parameters.
    "music": ModelConfig(
        (
            *(Conv(16, norm=True), _DOWN, Conv(32, norm=True), _DOWN, Conv(64, norm=True)),
            *(_TABLE1_FLAT, Conv(96, norm=True), _TABLE1_FLAT, Conv(128, norm=True)),
        ),
        hidden=128,
        rnn_layers=1,
        height=64,
        standardize=True,
    ),
}


class MapToSequence(nn.Module):
    """Feature maps to frames: column i of all maps, concatenated, is frame i (section 2.1).

    ``[N, channels, height, T] -> [T, N, channels * height]``; backward inverts it (section 2.2).
    """

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(1, 2).permute(2, 0, 1)


class ConvBlock(nn.Sequential):
    """Convolution, optional batch norm, ReLU."""

    def __init__(self, channels_in: int, conv: Conv) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(
                channels_in, conv.channels, conv.kernel, padding=conv.padding, bias=not conv.norm
            )
        ]
        if conv.norm:
            layers.append(nn.BatchNorm2d(conv.channels))
        super().__init__(*layers, nn.ReLU(inplace=True))


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
        x = images if widths is None else _mask_columns(images, lengths)
        if self.config.standardize:
            x = _standardize(x, lengths)
        for layer, module in zip(self.config.layers, self.convs, strict=True):
            x = module(x)
            lengths = _out_width(layer, lengths)
            # Zero is what a convolution pads with and never exceeds a ReLU's output in a pooling
            # window, so zeroed columns act as the edge of the image does.
            if widths is not None and module is not self.convs[-1]:
                x = _mask_columns(x, lengths)
        return x, lengths

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
    """Zero the columns of ``x [N, channels, H, W]`` from each sample's width on."""
    beyond = torch.arange(x.shape[3], device=x.device) >= widths[:, None]
    return x.masked_fill(beyond[:, None, None, :], 0.0)
