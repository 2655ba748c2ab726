"""A user model in MindSpore for parity_tests/weights/test_mapped_porting.py: see torch_ported.py."""

from mindspore import nn


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.c = nn.SequentialCell(
            nn.Conv2d(3, 8, 3, pad_mode="pad", padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, pad_mode="pad", padding=1, group=8, has_bias=True),
            nn.Conv2d(8, 8, 3, pad_mode="pad", padding=1, group=2, has_bias=True),
            nn.Conv2dTranspose(8, 8, 2, stride=2, pad_mode="valid", has_bias=True),
        )
        self.n, self.relu = nn.LayerNorm((8,), epsilon=1e-5), nn.ReLU()
        self.d1, self.d2 = nn.Dense(8, 8), nn.Dense(8, 5)

    def construct(self, x):
        return self.d2(self.relu(self.d1(self.n(self.c(x).mean((2, 3))))))
