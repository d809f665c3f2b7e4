# SPDX-License-Identifier: BSD-3-Clause
"""Module and Parameter: what is found, in which order, and under which names."""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nervure as nv
from nervure import nn
from nervure.nn.module import Module


class Block(nn.Module):
    """One of everything: parameters, None, buffers, children, ordinary attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.scale = nn.Parameter(nv.ones(3))
        self.absent = None
        self.not_a_parameter = nv.zeros(3)
        self.register_buffer("running", nv.zeros(3))
        self.register_buffer("scratch", nv.zeros(2), persistent=False)
        self.register_buffer("nothing", None)
        self.second = nn.Linear(3, 2, bias=False)
        self.sizes = [4, 3, 2]

    def forward(self, x: nv.Tensor) -> nv.Tensor:
        return self.second(self.first(x) * self.scale)


class Shared(nn.Module):
    """A layer used under two names, and a weight tied to another layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.b = self.a
        self.c = nn.Linear(3, 3, bias=False)
        self.c.weight = self.a.weight


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


# ---- what a module owns --------------------------------------------------------------------------


def test_parameters_in_order_of_assignment_own_before_childrens() -> None:
    block = Block()
    expected = ["scale", "first.weight", "first.bias", "second.weight"]
    assert names(block.named_parameters()) == expected
    assert [id(p) for p in block.parameters()] == [id(p) for _, p in block.named_parameters()]
    assert names(block.named_parameters(prefix="net")) == [f"net.{name}" for name in expected]
    assert names(block.named_parameters(recurse=False)) == ["scale"]
    assert names(block.named_buffers()) == ["running", "scratch"]
    assert [b.shape for b in block.buffers()] == [(3,), (2,)]
    assert names(block.named_modules()) == ["", "first", "second"]
    assert [type(m) for m in block.modules()] == [Block, nn.Linear, nn.Linear]
    assert names(block.named_children()) == ["first", "second"]
    assert list(block.children()) == [block.first, block.second]


def test_a_parameter_is_a_plain_attribute() -> None:
    block = Block()
    assert vars(block)["scale"] is block.scale
    assert block.scale.requires_grad
    del block.scale
    assert "scale" not in names(block.named_parameters())
    block.scale = nn.Parameter(nv.zeros(3))
    assert names(block.named_parameters())[0] == "scale"


def test_what_is_shared_is_listed_once_and_saved_under_every_name() -> None:
    shared = Shared()
    assert names(shared.named_parameters()) == ["a.weight", "a.bias"]
    everything = ["a.weight", "a.bias", "b.weight", "b.bias", "c.weight"]
    assert names(shared.named_parameters(remove_duplicate=False)) == everything
    assert list(shared.state_dict()) == everything
    assert names(shared.named_modules()) == ["", "a", "c"]
    assert names(shared.named_modules(remove_duplicate=False)) == ["", "a", "b", "c"]
    assert len(list(shared.children())) == 2


def test_a_module_may_refer_to_itself_as_far_as_walking_goes() -> None:
    block = Block()
    block.second.owner = block
    assert names(block.named_modules()) == ["", "first", "second"]


def test_without_calling_the_base_constructor() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(2, 2)

    bare = Bare()
    assert bare.training
    assert names(bare.named_parameters()) == ["layer.weight", "layer.bias"]
    bare.register_buffer("b", nv.zeros(1))
    assert names(bare.named_buffers()) == ["b"]
    assert names(Bare().named_buffers()) == []


@pytest.mark.parametrize("name", ["", "a.b", "forward", "sizes", "training"])
def test_names_that_are_refused(name: str) -> None:
    block = Block()
    for register, value in [
        (block.register_buffer, nv.zeros(1)),
        (block.register_parameter, nn.Parameter(nv.zeros(1))),
        (block.add_module, nn.Identity()),
    ]:
        with pytest.raises(KeyError, match=r"\[Block\]"):
            register(name, value)


def test_values_that_are_refused() -> None:
    block = Block()
    with pytest.raises(TypeError, match="buffer 'x' must be a Tensor or None, got list"):
        block.register_buffer("x", [1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="parameter 'x' must be a Parameter or None, got Tensor"):
        block.register_parameter("x", nv.zeros(1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="child 'x' must be a Module or None, got Parameter"):
        block.add_module("x", nn.Parameter(nv.zeros(1)))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a name must be a str, got int"):
        block.register_buffer(1, nv.zeros(1))  # type: ignore[arg-type]
    assert not hasattr(block, "x")


def test_registering_by_name_is_assignment() -> None:
    block = Block()
    weight, layer = nn.Parameter(nv.zeros(2)), nn.Identity()
    block.register_parameter("w", weight)
    block.register_parameter("absent", None)
    block.add_module("layer", layer)
    assert block.w is weight
    assert block.layer is layer
    assert block.get_parameter("first.weight") is block.first.weight
    assert block.get_submodule("first") is block.first
    assert block.get_submodule("") is block
    for missing in ("first.absent", "absent", "nowhere.weight", "running"):
        with pytest.raises(AttributeError, match="there is no"):
            block.get_parameter(missing)


# ---- calling and hooks ---------------------------------------------------------------------------


def test_calling_is_calling_forward_and_nothing_else() -> None:
    assert Block.__call__ is Block.forward
    assert nn.Linear.__call__ is nn.Linear.forward

    class Child(Block):
        pass

    class Mixin:
        def forward(self, x: Any) -> str:
            return "mixin"

    class Mixed(Mixin, Block):
        pass

    class Custom(Block):
        def __call__(self, x: Any) -> str:
            return "custom"

    class ChildOfCustom(Custom):
        def forward(self, x: Any) -> str:
            return "forward"

    assert Custom()(None) == "custom"
    assert ChildOfCustom()(None) == "custom"
    assert Child.__call__ is Block.forward
    assert Mixed()(None) == "mixin"


def test_arguments_by_name() -> None:
    class Add(nn.Module):
        def forward(self, x: int, *more: int, y: int = 1) -> int:
            return x + sum(more) + y

    assert Add()(1) == 2
    assert Add()(1, 2, 3, y=4) == 10
    assert Add()(x=1, y=2) == 3


def test_module_without_forward() -> None:
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"\[Empty\] the module defines no forward"):
        Empty()(1)
    with pytest.raises(NotImplementedError):
        Module()(1)


class Double(nn.Module):
    def forward(self, x: float, factor: float = 2.0) -> float:
        return factor * x


def test_a_hook_is_callable() -> None:
    with pytest.raises(TypeError, match=r"\[Identity\] a hook must be callable, got int"):
        nn.Identity().register_forward_hook(3)  # type: ignore[arg-type]


def test_forward_hooks() -> None:
    module, other = Double(), Double()
    seen: list[Any] = []

    def look(module: nn.Module, args: tuple[Any, ...], output: float) -> None:
        seen.append((module, args, output))

    first = module.register_forward_hook(look)
    second = module.register_forward_hook(lambda module, args, output: output + 1.0)
    third = module.register_forward_hook(look)
    assert module(3.0) == 7.0
    assert module(3.0, factor=1.0) == 4.0
    assert other(3.0) == 6.0
    assert seen == [(module, (3.0,), y) for y in (6.0, 7.0, 3.0, 4.0)]
    assert isinstance(module, Double)
    assert type(module).__name__ == "Double"
    first.remove()
    first.remove()
    second.remove()
    assert module(3.0) == 6.0
    assert len(seen) == 5
    third.remove()
    assert type(module) is Double
    assert module(3.0) == 6.0
    assert len(seen) == 5


def test_the_same_hook_twice_is_two_hooks() -> None:
    module = Double()

    def hook(module: nn.Module, args: tuple[Any, ...], output: float) -> float:
        return output + 1.0

    with module.register_forward_hook(hook):
        with module.register_forward_hook(hook):
            assert module(1.0) == 4.0
        assert module(1.0) == 3.0
    assert module(1.0) == 2.0


# ---- modes ---------------------------------------------------------------------------------------


def test_train_and_eval() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout()))
    assert all(m.training for m in model.modules())
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    assert model.train() is model
    assert all(m.training for m in model.modules())
    with pytest.raises(ValueError, match="training mode must be a bool"):
        model.train(1)  # type: ignore[arg-type]


def test_requires_grad_and_zero_grad() -> None:
    block = Block()
    assert block.requires_grad_(False) is block
    assert not any(p.requires_grad for p in block.parameters())
    assert len(list(block.parameters())) == 4
    block.requires_grad_()
    for p in block.parameters():
        p.grad = nv.ones(p.shape)
    block.zero_grad(set_to_none=False)
    assert all(not p.grad.numpy().any() for p in block.parameters())
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())
    block.zero_grad(set_to_none=False)
    assert all(p.grad is None for p in block.parameters())


def test_apply_visits_children_first() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    order: list[nn.Module] = []
    assert model.apply(order.append) is model
    assert order == [model[0], model[1][0], model[1], model]


def test_to_accepts_what_is_already_so() -> None:
    model = nn.Linear(1, 1)
    for arguments in [(), ("cpu",), (nv.float32,), ("cpu", nv.float32), ("float32",), (None,)]:
        assert model.to(*arguments) is model
    assert model.to(device="cpu", dtype=nv.float32) is model
    for wrong in ("cuda", nv.int64, "float16", 3, np.float32):
        with pytest.raises(ValueError, match=r"\[Linear.to\] parameters are float32 on the CPU"):
            model.to(wrong)
    with pytest.raises(ValueError, match="cuda"):
        model.to(device="cuda")


# ---- state ---------------------------------------------------------------------------------------


def test_state_dict_shares_storage_and_leaves_out_what_is_not_persistent() -> None:
    block = Block()
    state = block.state_dict()
    assert list(state) == ["scale", "running", "first.weight", "first.bias", "second.weight"]
    assert next(iter(block.state_dict(prefix="x."))) == "x.scale"
    assert not any(t.requires_grad for t in state.values())
    state["scale"].fill_(7.0)
    np.testing.assert_array_equal(block.scale.numpy(), np.full(3, 7.0, np.float32))


def values(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: t.numpy().copy() for name, t in module.state_dict().items()}


def assert_equal_state(module: nn.Module, expected: dict[str, np.ndarray]) -> None:
    actual = values(module)
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def test_load_state_dict() -> None:
    block, other = Block(), Block()
    addresses = [p.numpy().ctypes.data for p in other.parameters()]
    result = other.load_state_dict(block.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert result == ([], [])
    assert_equal_state(other, values(block))
    assert [p.numpy().ctypes.data for p in other.parameters()] == addresses
    assert other.first.weight.order == (1, 0)
    assert all(p.requires_grad and p.is_leaf for p in other.parameters())
    other.load_state_dict(other.state_dict())
    assert_equal_state(other, values(block))


def test_load_state_dict_from_arrays() -> None:
    block, other = Block(), Block()
    wide = {name: array.astype(np.float64) for name, array in values(block).items()}
    wide["first.weight"] = np.asfortranarray(wide["first.weight"])
    other.load_state_dict(wide)
    assert_equal_state(other, values(block))


def test_load_state_dict_changes_nothing_when_anything_is_wrong() -> None:
    block = Block()
    before = values(block)
    good = {name: array + 1.0 for name, array in before.items()}

    wrong = {**good, "extra": np.zeros(1), "second.weight": np.zeros((9, 9))}
    del wrong["first.bias"]
    with pytest.raises(ValueError, match="Error") as error:
        block.load_state_dict(wrong)
    assert str(error.value) == (
        "Error(s) in loading state_dict for Block:\n"
        '\tMissing key(s) in state_dict: "first.bias".\n'
        '\tUnexpected key(s) in state_dict: "extra".\n'
        "\tsize mismatch for second.weight: copying a param with shape (9, 9) from checkpoint, "
        "the shape in current model is (2, 3)."
    )
    assert_equal_state(block, before)
    for bad in (np.array(["a"] * 3), None, object(), np.zeros(3, complex)):
        with pytest.raises(TypeError, match="running cannot become a tensor"):
            block.load_state_dict({**good, "running": bad})
        assert_equal_state(block, before)
    with pytest.raises(TypeError, match="expected a mapping"):
        block.load_state_dict([good])  # type: ignore[arg-type]


def test_load_state_dict_not_strict() -> None:
    block = Block()
    result = block.load_state_dict({"scale": np.full(3, 5.0), "extra": np.zeros(1)}, strict=False)
    assert result.missing_keys == ["running", "first.weight", "first.bias", "second.weight"]
    assert result.unexpected_keys == ["extra"]
    assert "extra" in repr(result)
    assert block.scale.numpy().tolist() == [5.0, 5.0, 5.0]
    with pytest.raises(ValueError, match="size mismatch for scale"):
        block.load_state_dict({"scale": np.zeros(4)}, strict=False)


def test_load_state_dict_of_integer_buffers() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", nv.tensor(3))

    counter = Counter()
    counter.load_state_dict({"count": np.int64(7)})
    assert counter.count.item() == 7
    with pytest.raises(TypeError, match="count must be int64, got float32"):
        counter.load_state_dict({"count": np.float32(8.0)})
    assert counter.count.item() == 7


def test_a_pytorch_state_dict_loads_as_it_is() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    ours = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    ours.load_state_dict(theirs.state_dict())
    assert_equal_state(ours, {name: t.numpy() for name, t in theirs.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours(nv.tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_state_dict_through_a_file(tmp_path: Path) -> None:
    block, other = Block(), Block()
    nv.save(block.state_dict(), tmp_path / "block.safetensors")
    other.load_state_dict(nv.load(tmp_path / "block.safetensors"))
    assert_equal_state(other, values(block))


def test_deepcopy() -> None:
    block = Block()
    block.second.weight = block.second.weight.requires_grad_(False)
    twin = copy.deepcopy(block)
    assert_equal_state(twin, values(block))
    assert type(twin.scale) is nn.Parameter
    assert twin.first.weight.order == (1, 0)
    assert [p.requires_grad for p in twin.parameters()] == [True, True, True, False]
    twin.scale.fill_(9.0)
    assert not (block.scale.numpy() == 9.0).any()
    tied = copy.deepcopy(Shared())
    assert tied.c.weight is tied.a.weight
    assert tied.b is tied.a


def test_parameter() -> None:
    data = nv.tensor([1.0, 2.0])
    parameter = nn.Parameter(data)
    assert isinstance(parameter, nv.Tensor)
    assert parameter.requires_grad
    assert not data.requires_grad
    data.fill_(5.0)
    assert parameter.numpy().tolist() == [5.0, 5.0]
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert repr(parameter).startswith("Parameter containing:\ntensor([5., 5.]")


# ---- text ----------------------------------------------------------------------------------------


def test_repr_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch")

    def model(nn: Any) -> Any:
        return nn.Sequential(
            nn.Linear(3, 4, bias=False),
            nn.Sequential(nn.LeakyReLU(0.2), nn.GELU("tanh"), nn.ELU(), nn.Softplus(2, 10)),
            nn.ModuleDict({"a": nn.Softmax(dim=1), "b": nn.Flatten(0, -2)}),
            nn.ModuleList([nn.Dropout(0.25), nn.Tanh(), nn.Hardtanh(-2.0, 3.0), nn.Identity()]),
            nn.CrossEntropyLoss(),
            nn.Sequential(),
            nn.LogSoftmax(dim=-1),
        )

    theirs = repr(model(torch.nn)).replace(", inplace=False", "")
    # PyTorch joins equal neighbours of a ModuleList; these are all different.
    assert repr(model(nn)) == theirs


def test_summary() -> None:
    model = nn.Sequential(
        OrderedDict(
            body=nn.Sequential(nn.Linear(1000, 20), nn.ReLU()),
            drop=nn.Dropout(),
            head=nn.Linear(20, 3),
        )
    )
    model.body[0].requires_grad_(False)
    model.drop.eval()
    lines = model.summary(nv.zeros(5, 1000)).splitlines()
    rows = [line.split() for line in lines]
    assert rows[0] == ["Layer", "Output", "shape", "Parameters"]
    assert rows[2] == ["Sequential", "(5,", "3)", "-"]
    assert rows[3] == ["body", "(Sequential)", "(5,", "20)", "-"]
    assert rows[4] == ["0", "(Linear)", "(5,", "20)", "20,020"]
    assert rows[7] == ["head", "(Linear)", "(5,", "3)", "63"]
    assert lines[-3:] == [
        "Parameters: 20,083 (0.08 MB)",
        "Trainable:  63",
        "Frozen:     20,020",
    ]
    assert model.training
    assert not model.drop.training
    assert type(model) is nn.Sequential
    assert "Output shape" not in model.summary()
    assert "20,020" in model.summary()


def test_summary_leaves_no_trace_when_the_model_fails() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="linear"):
        model.summary(nv.zeros(1, 3))
    assert model.training
    assert type(model[0]) is nn.Linear


def test_summary_counts_shared_parameters_once() -> None:
    assert "Parameters: 12 " in Shared().summary()


# ---- rules ---------------------------------------------------------------------------------------


def test_nn_does_not_import_numpy() -> None:
    folder = Path(nn.__file__).parent
    for path in folder.glob("**/*.py"):
        assert "numpy" not in [word.strip(",.") for word in path.read_text().split()], path.name
