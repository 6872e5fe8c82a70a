"""The contract of a method, alone and on a network: one that keeps the size, one that enlarges."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from benchlib import papers
from benchlib.conformance._network import (
    CLIP,
    LEADS_OUT,
    ONE_TOKEN,
    REACHES,
    VALIDITY,
    Pair,
    moved,
    reaches,
    small_backbone,
    without_gradient,
)
from benchlib.conformance._subject import (
    Subject,
    Unmet,
    expect,
    settings_are_frozen_and_typed,
    states_its_version_and_what_it_uses,
)
from benchlib.contracts import BenchError, Info, load_weights_into

SIZES = ((16, 16), (17, 23), (33, 8))
BACKBONES = ("nafnet", "imdn")


def says_what_it_is(subject: Subject) -> None:
    """INFO has a source, a label, and a paper that is there."""
    info = subject.module.INFO
    expect(isinstance(info, Info), f"INFO is {info!r}; expected benchlib.contracts.Info(...)")
    expect(info.source, "INFO.source is empty; say which equation, page or code it follows")
    expect(info.label, "INFO.label is empty; it is the row's name in tables")
    known = sorted(papers.papers())
    expect(not info.paper or info.paper in known, f"INFO.paper {info.paper!r}: may be {known}")


# --- on a network ---------------------------------------------------------------------------------


def output_has_the_size_of_the_input_even_if_odd(pair: Pair) -> None:
    """An image of any size comes out at its size (times the network's scale), finite."""
    model = pair.build().eval()
    for height, width in SIZES:
        with torch.no_grad():
            restored = model(pair.batch(height, width))
        expected = _restored_shape(pair, height, width)
        found = tuple(restored.shape)
        expect(found == expected, f"of {height}x{width} pixels came {found}; expected {expected}")
        expect(torch.isfinite(restored).all(), f"of {height}x{width} pixels came inf or nan")


def _restored_shape(pair: Pair, height: int, width: int) -> tuple[int, ...]:
    """Of two restored images, windows' middle frames, or whole clips."""
    made_of = small_backbone(pair.backbone)
    image = (3, made_of.scale * height, made_of.scale * width)
    if made_of.frames is not None and made_of.frames.window is None:
        return (2, CLIP, *image)
    return (2, *image)


def gradients_reach_exactly_what_trains(pair: Pair) -> None:
    """What requires a gradient gets one; something does, unless INFO.trains is False."""
    model = pair.build().train()
    trained = [parameter.requires_grad for parameter in model.parameters()]
    trains = pair.method.module.INFO.trains
    expect(any(trained) == trains, f"INFO.trains is {trains}, but trainable: {any(trained)}")
    if not any(trained):
        return
    model, living = moved(model).train(), []
    data = pair.batch(16, 16)
    model(data).square().sum().backward()
    objective = getattr(pair.method.module, "objective", None)
    if objective is not None:  # it may train what no restored image shows
        data["hq"] = torch.rand_like(model(data))
        _add_critics(pair, model)
        objective(model, data, nn.functional.l1_loss)[0].backward()
    for name, parameter in model.named_parameters():
        got = parameter.grad is not None
        expect(got == parameter.requires_grad, f"{name}: gradient {got}, expected {not got}")
        if LEADS_OUT in name or name.endswith(ONE_TOKEN):
            continue
        if parameter.grad is not None:
            living.append(bool(parameter.grad.abs().sum() > 0))
    # a unit of a small network may be dead; a softmax ignores what shifts all
    said = f"only {sum(living)} of {len(living)} parameters have a gradient that is not zero"
    expect(sum(living) > 0.98 * len(living), said)


def saved_and_loaded_it_restores_the_same(pair: Pair) -> None:
    """Its weights can be saved, and loaded they restore the same."""
    from safetensors.torch import load_file

    from benchlib.assets.weights import save_weights

    model = pair.build().eval()
    other = moved(model)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        save_weights(model.state_dict(), file)
        other.load_state_dict(load_file(file), strict=True)
    with torch.no_grad():
        data = pair.batch(16, 20)
        same = torch.equal(model(data), other(data))
    expect(same, "it restores otherwise; something that it needs is in no parameter or buffer")


def weights_load_by_official_names_and_those_of_the_backbone_alone(pair: Pair) -> None:
    """Weights of its network load into ``self.network``, by their own names and by a run's."""
    if not pair.method.module.INFO.trains:
        return
    model = pair.build()
    network = getattr(model, "network", None)
    expect(isinstance(network, nn.Module), "no self.network; keep the network under that name")
    assert network is not None
    own = moved(model).state_dict()
    official = {name.removeprefix("network."): value for name, value in own.items()}
    load_weights_into(model, official, "official names")
    _expect_equal(model.state_dict(), own, "official names")
    alone = {name: value + 1 for name, value in network.state_dict().items()}
    load_weights_into(model, alone, "the network's names")
    _expect_equal(network.state_dict(), alone, "the network's names")
    of_a_run = {f"network.{name}": value + 1 for name, value in alone.items()}
    load_weights_into(model, of_a_run, "a run's names")  # trained by the method ``none``
    loaded = {f"network.{name}": value for name, value in network.state_dict().items()}
    _expect_equal(loaded, of_a_run, "a run's names")


def _expect_equal(
    got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], where: str
) -> None:
    other = sorted(got.keys() ^ expected.keys())
    expect(not other, f"{where}: {', '.join(other)}: there before or after alone")
    for name, value in expected.items():
        expect(torch.equal(got[name], value), f"{where}: {name} is not what it was")


def evaluation_is_deterministic_and_does_not_touch_its_batch(pair: Pair) -> None:
    """The same batch twice gives the same bits, and is left as it was."""
    model, data = pair.build().eval(), pair.batch(16, 16)
    kept = copy.deepcopy(data)
    with torch.no_grad():
        same = torch.equal(model(data), model(data))
    expect(same, "two calls differ in evaluation mode; switch chance off there")
    _expect_equal(data, kept, "the batch")


def each_image_of_a_batch_is_restored_by_itself(pair: Pair) -> None:
    """An image comes out the same alone and in a batch."""
    model, data = moved(pair.build()), pair.batch(16, 16)
    with torch.no_grad():
        together = model(data)
        alone = model({name: value[1:] for name, value in data.items()})
    off = float((together[1:] - alone).abs().max() / together.std())
    expect(off < REACHES, f"alone it differs by {off:.2g} of the spread; expected below {REACHES}")


def a_call_leaves_nothing_behind(pair: Pair) -> None:
    """A call of another size, of a copy, or one that fails does not change the next."""
    model, first, second = moved(pair.build()), pair.batch(16, 16), pair.batch(20, 12)
    with torch.no_grad():
        before = model(first)
        model(second)
        copy.deepcopy(model)(second)
        with suppress(Exception):
            model(second | {"lq": second["lq"].repeat(1, 2, 1, 1)})  # six channels
        same = torch.equal(model(first), before)
    expect(same, "a call changed what a later one gives; keep nothing between two calls")


def a_missing_prior_is_refused_by_name(pair: Pair) -> None:
    """A batch without what it needs is an error that names the entry."""
    model = pair.build()
    for name in pair.needs:
        data = pair.batch(16, 16)
        del data[name]
        try:
            model(data)
        except BenchError as error:
            named = pair.method.name in str(error) and f"'{name}'" in str(error)
            expect(named, f"without {name}: {error}; expected the method's name and the entry's")
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise Unmet(f"without {name}: {said}; read it by contracts.need(...)") from None
        else:
            raise Unmet(f"without {name} it restores all the same; read it by contracts.need(...)")


def the_prior_that_it_asks_for_changes_the_result(pair: Pair) -> None:
    """Each entry of the prior that it needs reaches the restored image."""
    entries = tuple(name for name in pair.needs if name.rpartition(".")[2] not in VALIDITY)
    for name, change in reaches(pair.build(), pair.batch(16, 16), entries).items():
        said = f"{name} does not reach the restored image: it moves by {change:.2g} of its spread"
        expect(change > REACHES, said)


def gradients_reach_the_whole_branch_of_the_prior(pair: Pair) -> None:
    """Every parameter of its own moves the restored image, and so does all of the prior."""
    model, data = pair.build(), pair.batch(16, 16)
    if not pair.needs or not pair.method.module.INFO.trains:
        return
    dead = sorted(without_gradient(model, data))
    expect(not dead, f"these do not move the restored image: {', '.join(dead)}")
    for name in pair.needs:
        if data[name].is_floating_point():
            entry = data[name].clone().requires_grad_()
            moved(model)(data | {name: entry}).square().mean().backward()
            there = entry.grad is not None and bool((entry.grad.abs().amax(1) > 0).all())
            expect(there, f"part of {name} has no gradient")


def _add_critics(pair: Pair, model: nn.Module) -> None:
    """What its method has for training alone stands in the model while an objective is taken."""
    critics = getattr(pair.method.module, "critics", None)
    if critics:
        model.critics = critics(pair.method.config())


def its_objective_can_be_minimised(pair: Pair) -> None:
    """Its own ``objective``, if it has one, gives a finite scalar with a gradient, and images."""
    objective = getattr(pair.method.module, "objective", None)
    if objective is None:
        return
    model, data = moved(pair.build()).train(), pair.batch(16, 16)
    _add_critics(pair, model)
    with torch.no_grad():
        data["hq"] = torch.rand_like(model(data))
    value, restored = objective(model, data, nn.functional.l1_loss)
    expect(value.ndim == 0, f"the first result has the shape {tuple(value.shape)}; expected ()")
    expect(torch.isfinite(value), f"the first result is {float(value)}")
    found, expected = tuple(restored.shape), tuple(data["hq"].shape)
    expect(found == expected, f"the second result is {found}; expected the images, {expected}")
    value.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    expect(any(bool(g.abs().sum() > 0) for g in gradients), "no parameter gets a gradient")


ON_A_NETWORK: tuple[Callable[[Pair], None], ...] = (
    output_has_the_size_of_the_input_even_if_odd,
    gradients_reach_exactly_what_trains,
    saved_and_loaded_it_restores_the_same,
    weights_load_by_official_names_and_those_of_the_backbone_alone,
    evaluation_is_deterministic_and_does_not_touch_its_batch,
    each_image_of_a_batch_is_restored_by_itself,
    a_call_leaves_nothing_behind,
    a_missing_prior_is_refused_by_name,
    the_prior_that_it_asks_for_changes_the_result,
    gradients_reach_the_whole_branch_of_the_prior,
    its_objective_can_be_minimised,
)


def on_networks(check: Callable[[Pair], None]) -> Callable[[Subject], None]:
    """A check of a pair as one of the method: on each of its networks."""

    @wraps(check)
    def tried(subject: Subject) -> None:
        for backbone in networks(subject):
            try:
                check(Pair(subject, backbone))
            except Unmet as error:
                raise Unmet(f"on {backbone}: {error}") from None

    return tried


def networks(subject: Subject) -> tuple[str, ...]:
    """The backbones that a method is tried on; one that brings its own has none beside it."""
    own = getattr(subject.module.INFO, "own", "")
    made_for = getattr(subject.module, "BACKBONES", BACKBONES)
    return {"": made_for, "network": ("none",)}.get(own, ())


ALONE = (
    states_its_version_and_what_it_uses,
    settings_are_frozen_and_typed,
    says_what_it_is,
)
CHECKS = (*ALONE, *map(on_networks, ON_A_NETWORK))
