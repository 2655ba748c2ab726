"""Program of parity_tests/weights/test_optimizer_state.py."""

from __future__ import annotations


def save_paddle_optimizers(model_name: str, folder: str) -> None:
    """Train a model of Paddle for three steps of Adam, and save it in every way that Paddle's users do.

    Writes both.pdparams (model and optimizer in one file), own.pdparams and own.pdopt, other.pdparams (of another
    model) and other.pdopt, plain.pdparams and plain.pdopt (SGD with a schedule, without arrays), and
    expected.safetensors with the moments under canonical names.
    """
    import paddle

    from backends.paddle import create_model
    from backends.paddle.native_weights import NAMES
    from repro.weights import safetensors_file

    model, other = create_model(model_name, num_classes=5), create_model(model_name, num_classes=5)
    adam = paddle.optimizer.Adam(0.1, parameters=model.parameters())
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(0.1, 10)
    sgd = paddle.optimizer.SGD(schedule, parameters=model.parameters())
    model.train()
    model(paddle.randn([4, 3, 32, 32])).square().mean().backward()
    for _ in range(3):
        adam.step()
    state = adam.state_dict()
    paddle.save({"model": model.state_dict(), "opt": state}, f"{folder}/both.pdparams")
    for name, saved_model, optimizer in (("own", model, adam), ("other", other, adam), ("plain", model, sgd)):
        paddle.save(saved_model.state_dict(), f"{folder}/{name}.pdparams")
        paddle.save(optimizer.state_dict(), f"{folder}/{name}.pdopt")
    canonical_names = {NAMES.name(name, weight): name for name, weight in model.spec.weights.items()}
    moments = {}
    for native_name, parameter in model.named_parameters():
        name = canonical_names[native_name]
        for slot in ("moment1", "moment2") if not parameter.stop_gradient else ():
            moment = state[f"{parameter.name}_{slot}_0"].numpy()
            moments[f"{slot}/{name}"] = NAMES.to_canonical_axes(moment, model.spec.weights[name])
    safetensors_file.save(f"{folder}/expected.safetensors", moments)
