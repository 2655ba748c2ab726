"""User models in PyTorch for parity_tests/parity/test_inputs_and_outputs.py: several inputs and outputs of any form."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from transformers.utils import ModelOutput


class Net(nn.Module):
    """Images and tokens, from which two arrays are computed."""

    def __init__(self, form=lambda scores, boxes: (scores, boxes)):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(7, 4), nn.Conv2d(3, 4, 3)
        self.scores, self.boxes = nn.Linear(4, 5), nn.Linear(4, 3)
        self.form = form

    def forward(self, images, tokens, mask=None):
        x = self.conv(images).relu().mean((2, 3)) + self.embedding(tokens).mean(1)
        return self.form(self.scores(x), self.boxes(x).reshape(-1, 1, 3))


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@dataclass
class Detections:
    scores: torch.Tensor
    boxes: torch.Tensor
    name: str = "no tensor"


@dataclass
class HubOutput(ModelOutput):
    scores: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    rest: torch.Tensor | None = None


build = Net


def named_tuple():
    return Net(Pair)


def dictionary():
    return Net(lambda scores, boxes: {"scores": scores, "boxes": boxes})


def data_class():
    return Net(Detections)


def hub():
    return Net(HubOutput)


def nested():
    return Net(lambda scores, boxes: {"all": [scores, {"boxes": boxes}], "classes": scores.argmax(1)})


def one():
    return Net(lambda scores, boxes: scores)


def wrong_boxes():
    return Net(lambda scores, boxes: (scores, boxes.flip(2)))


class Text(nn.Module):
    """Tokens only, so that no input has fractions."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.embedding, self.norm, self.fc = nn.Embedding(9, 8), nn.LayerNorm(8), nn.Linear(8, 5)
        self.scale = scale

    def forward(self, tokens):
        return self.fc(self.norm(self.embedding(tokens))).mean(1) * self.scale


text = Text


def scaled_text():
    return Text(1.001)
