"""User models in PaddlePaddle for parity_tests/parity/test_inputs_and_outputs.py: see torch_io.py."""

from paddle import nn


class Net(nn.Layer):
    def __init__(self, form=lambda scores, boxes: (scores, boxes)):
        super().__init__()
        self.boxes, self.scores = nn.Linear(4, 3), nn.Linear(4, 5)
        self.embedding, self.conv = nn.Embedding(7, 4), nn.Conv2D(3, 4, 3)
        self.form = form

    def forward(self, images, tokens):
        x = nn.functional.relu(self.conv(images)).mean([2, 3]) + self.embedding(tokens).mean(1)
        return self.form(self.scores(x), self.boxes(x).reshape([-1, 1, 3]))


build = Net


def dictionary():
    return Net(lambda scores, boxes: {"boxes": boxes, "scores": scores})


def nested():
    return Net(lambda scores, boxes: {"classes": scores.argmax(1), "all": [scores, {"boxes": boxes}]})


class Text(nn.Layer):
    def __init__(self):
        super().__init__()
        self.fc, self.norm, self.embedding = nn.Linear(8, 5), nn.LayerNorm(8), nn.Embedding(9, 8)

    def forward(self, tokens):
        return self.fc(self.norm(self.embedding(tokens))).mean(1)


text = Text
