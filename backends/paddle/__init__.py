"""PaddlePaddle. `create_model("asymmnet_large", num_classes=16)` is a plain paddle.nn.Layer."""

from repro.interface.lazy import functions_of

__getattr__ = functions_of(__name__)


def version() -> str:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses ccache, which only compiles extensions
        import paddle

    return paddle.__version__
