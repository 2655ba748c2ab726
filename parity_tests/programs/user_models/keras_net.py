"""A Keras model on PyTorch, and the same network in PyTorch, for parity_tests/parity/test_keras_models.py."""

import keras
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F


def build(limit=6, epsilon=1e-3):
    """Return a network with a stride and "same" padding, a depthwise convolution, and a model within the model."""
    x = entry = keras.Input((12, 10, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(epsilon=epsilon, momentum=0.9)(x)
    x = layers.ReLU(max_value=limit)(x)
    block = keras.Sequential([
        layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), layers.LayerNormalization(epsilon=1e-5)
    ])  # fmt: skip
    x = layers.Dropout(0.2)(layers.MaxPooling2D(2)(block(x)))
    x = layers.Dense(8, activation="tanh")(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(8, activation=layers.ReLU())(x)
    return keras.Model(entry, layers.Dense(5)(x))


def without_input():
    return keras.Sequential([layers.Dense(5)])


def with_limit():
    return build(limit=1)


def with_epsilon():
    return build(epsilon=1e-4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8, 1e-3)
        self.depthwise, self.layer_norm = nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.LayerNorm(16)
        self.dropout = nn.Dropout(0.2)
        self.hidden, self.second, self.fc = nn.Linear(16, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu6(self.norm(self.stem(F.pad(x, (0, 1, 0, 1)))))
        x = self.layer_norm(self.depthwise(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.dropout(F.max_pool2d(x, 2))
        return self.fc(torch.relu(self.second(torch.tanh(self.hidden(x.mean((2, 3)))))))
