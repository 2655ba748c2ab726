"""Reference reproductions of convolutional image classifiers in PyTorch, PaddlePaddle and MindSpore."""

__version__ = "0.1.0"  # pyproject.toml reads the version of the package here
