"""What a network is made of: the description that presets, settings and checkpoints share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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

    `kernel` and `padding` are pixels in both directions. With `skip`, the input of the layer
    ``skip - 1`` before this one is added before the ReLU: a residual block of `skip` convolutions
    (He et al. 2016), at first the identity. Raises ValueError for a size out of range.
    """

    channels: int
    kernel: int = 3
    padding: int = 1
    norm: bool = False
    skip: int = 0

    def __post_init__(self) -> None:
        _check_sizes(self, 1, 65536, channels=self.channels)
        _check_sizes(self, 1, 64, kernel=self.kernel)
        _check_sizes(self, 0, 64, padding=self.padding)
        _check_sizes(self, 0, 16, skip=self.skip)
        if self.skip and not self.norm:
            raise ValueError("Conv: norm must be true with skip, got false")


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
        for i, layer in enumerate(self.layers):
            if isinstance(layer, Conv) and layer.skip:
                self._check_block(i, layer)

    def _check_block(self, last: int, conv: Conv) -> None:
        """What is added must have the shape of what it is added to, and be the output of a ReLU."""
        first = last - conv.skip + 1
        block = self.layers[max(0, first) : last + 1]
        if first < 1 or not all(
            isinstance(layer, Conv) and layer.kernel == 2 * layer.padding + 1 for layer in block
        ):
            raise ValueError(
                f"ModelConfig: skip of layer {last} must span convolutions that keep the size, "
                f"with a layer before them, got {conv.skip}"
            )
        entering = _channels(self.layers[:first])
        if conv.channels != entering:
            raise ValueError(
                f"ModelConfig: channels of layer {last} must be the {entering} that it adds, "
                f"got {conv.channels}"
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
        return _channels(self.layers)

    def places_of(self, start: ModelConfig) -> list[int] | None:
        """For each layer of `start` the number of its like here, where there may be more residual
        blocks; None if more than such blocks tells the two apart."""
        if dataclasses.replace(self, layers=start.layers) != start:
            return None
        places: list[int] = []
        at = 0
        while at < len(self.layers):
            size = self._block_from(at)
            here = range(at, at + max(1, size))
            if start.layers[len(places) :][: len(here)] == self.layers[at : here.stop]:
                places.extend(here)
            elif not size:
                return None
            at = here.stop
        return places if len(places) == len(start.layers) else None

    def _block_from(self, first: int) -> int:
        """Layers of the residual block that begins at layer `first`; 0 if none does."""
        for size, layer in enumerate(self.layers[first:], start=1):
            if isinstance(layer, Conv) and layer.skip == size:
                return size
        return 0

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


def _channels(layers: tuple[Conv | Pool, ...]) -> int:
    """Of what comes out of `layers`."""
    return next((layer.channels for layer in reversed(layers) if isinstance(layer, Conv)), 1)


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


def _normed(channels: int, skip: int = 0) -> Conv:
    return Conv(channels, norm=True, skip=skip)


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
    # Twice the arithmetic of "small", from which `init` starts it: two residual blocks deeper.
    "base": ModelConfig(
        (
            *(_normed(32), _DOWN, _normed(64), _DOWN, _normed(128), _normed(128)),
            *(_normed(128), _normed(128, skip=2), _FLAT, _normed(192), _normed(256)),
            *(_normed(128), _normed(256, skip=2), _FLAT, Conv(256, 2, 0, norm=True)),
        ),
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
