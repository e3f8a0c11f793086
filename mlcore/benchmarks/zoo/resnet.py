"""ResNet-18 on a jet image of three channels: 11 million weights.

References
----------
K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", CVPR (2016), arXiv:1512.03385, table 1 and
figure 5 (left). Jet images of 64×64 pixels with three channels: G. Kasieczka et al., SciPost Phys. 7 (2019) 014,
arXiv:1902.09914.
"""

from __future__ import annotations

from torch import Tensor, nn

from mlcore.benchmarks.zoo._model import BATCH, TensorSpec, ZooModel


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Float32, shape (batch, before, height, width) to (batch, after, height / stride, width / stride)."""
        y: Tensor = (self.convolutions(x) + self.shortcut(x)).relu()
        return y


def build() -> nn.Module:
    """The stem, four stages of two blocks with 64 to 512 channels, the mean over the image and one dense layer."""
    stages = []
    before = 64
    for after in (64, 128, 256, 512):
        stages += [BasicBlock(before, after, 1 if after == 64 else 2), BasicBlock(after, after, 1)]
        before = after
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        *stages,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


MODEL = ZooModel(
    name="resnet",
    title="ResNet-18, 64×64",
    paper="He et al., arXiv:1512.03385",
    build=build,
    inputs=(TensorSpec("x", (BATCH, 3, 64, 64)),),
    outputs=(TensorSpec("y", (BATCH, 10)),),
)
