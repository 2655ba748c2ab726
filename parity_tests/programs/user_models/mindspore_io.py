"""User models in MindSpore for parity_tests/parity/test_inputs_and_outputs.py: see torch_io.py."""

from mindspore import nn, ops


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(7, 4), nn.Conv2d(3, 4, 3, pad_mode="valid", has_bias=True)
        self.scores, self.boxes = nn.Dense(4, 5), nn.Dense(4, 3)

    def construct(self, images, tokens):
        x = ops.relu(self.conv(images)).mean((2, 3)) + self.embedding(tokens).mean(1)
        return {"scores": self.scores(x), "boxes": self.boxes(x).reshape(-1, 1, 3)}


dictionary = Net
