"""LMDIR: each block against a plain, slow writing of its equations; rows, readings, refusals."""

import math

import pytest
import torch
from torch import nn

from benchlib.conformance._batch import batch
from benchlib.conformance._network import moved, small_backbone
from benchlib.contracts import BenchError
from benchlib.methods import _lmdir as blocks
from benchlib.methods import lmdir

pytest.importorskip("spandrel_extra_arches")

SMALL = {"size": 6, "channels": 8, "queries": 3, "width": 4}
DIM, HEADS = 8, 2
ROWS = {
    "I": (),
    "II": ("degradation",),
    "III": ("degradation", "content"),
    "full": ("degradation", "content", "reference"),
}


def expect_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def block() -> nn.Module:
    """A transformer block of Restormer, its parameters off their start."""
    from spandrel_extra_arches.architectures.Restormer.__arch.restormer_arch import (
        TransformerBlock,
    )

    return moved(TransformerBlock(DIM, HEADS, 2.0, False, "WithBias"))


def a_map() -> torch.Tensor:
    return torch.randn(2, DIM, 4, 6)


def some_tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Of five tokens the first image has three, the second all."""
    there = torch.ones(2, 5, dtype=torch.bool)
    there[0, 3:] = False
    return torch.randn(2, 5, SMALL["size"]), there


def slow_attention(query, key, value, scale: float) -> torch.Tensor:
    """A loop over queries: softmax of products, then the weighed sum of the values; one image."""
    rows = []
    for asked in query:
        likeness = torch.stack([(asked * other).sum() * scale for other in key])
        weights = likeness.exp() / likeness.exp().sum()
        rows.append(sum(weight * row for weight, row in zip(weights, value, strict=True)))
    return torch.stack(rows)


# --- equations 1 to 7 -----------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [1, 2])
@torch.no_grad()
def test_the_prompt_encoder(grid):
    made = moved(blocks.PromptEncoder(SMALL["size"], 8, 3, 4, grid))
    image, (tokens, there) = torch.rand(2, 3, 16, 24), some_tokens()
    z, scale = made(image, tokens, there), 1 / math.sqrt(8)
    assert z.shape == (2, 3, 8)
    learned = made.queries
    own = slow_attention(
        learned @ made.w_query.weight.T,
        learned @ made.w_key.weight.T,
        learned @ made.w_value.weight.T,
        scale,
    )
    query = own @ made.w_qp.weight.T
    for i, count in enumerate((3, 5)):
        words = tokens[i, :count]
        text = slow_attention(query, words @ made.w_kd.weight.T, words @ made.w_vd.weight.T, scale)
        of_image = made.image(image[i : i + 1])[0]
        value = of_image @ made.w_vi.weight.T
        key = value  # of one entry the softmax is 1, whatever the key
        if grid > 1:
            key = of_image @ made.w_ki.weight.T
        expect_close(z[i], made.ffn(text + slow_attention(query, key, value, scale)))


def test_with_one_vector_an_image_no_key_is_built_since_it_would_reach_nothing():
    names = dict(blocks.PromptEncoder(6, 8, 3, 4, grid=1).named_parameters())
    assert "w_vi.weight" in names and "w_ki.weight" not in names


@torch.no_grad()
def test_an_image_of_no_words_is_one_of_a_token_of_zeros():
    made = moved(blocks.PromptEncoder(6, 8, 3, 4, 1))
    image, (tokens, there) = torch.rand(2, 3, 16, 16), some_tokens()
    none = made(image, tokens, torch.zeros_like(there))
    assert torch.isfinite(none).all()
    zeros = torch.zeros(2, 1, 6)
    expect_close(none, made(image, zeros, torch.ones(2, 1, dtype=torch.bool)))
    expect_close(none, made(image, zeros[:, :0], torch.ones(2, 0, dtype=torch.bool)))


# --- equations 8 to 13 ----------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["mean", "beside"])
@torch.no_grad()
def test_the_adapter(pool):
    made, z = moved(blocks.Adapter(8, 3, DIM, pool, "zero")), torch.randn(2, 3, 8)
    six = made(z)
    for i in range(2):
        one = z[i].flatten()
        if pool == "mean":
            one = (z[i, 0] + z[i, 1] + z[i, 2]) / 3
        adapted = one @ made.adapt.weight.T + made.adapt.bias
        adapted = adapted * (1 / (1 + (-adapted).exp()))
        whole = adapted @ made.linear.weight.T + made.linear.bias
        for number, part in enumerate(six):
            expect_close(part[i, :, 0, 0], whole[number * DIM : (number + 1) * DIM])


@pytest.mark.parametrize("modulate", ["after", "before"])
@torch.no_grad()
def test_the_degradation_aware_block(modulate):
    made, x = block(), a_map()
    six = [torch.randn(2, DIM, 1, 1) for _ in range(6)]
    got = blocks.degradation_aware(made, x, six, modulate)
    for i in range(2):
        gate_a, gate_f, scale_a, shift_a, scale_f, shift_f = [part[i : i + 1] for part in six]
        one = x[i : i + 1]
        if modulate == "after":
            middle = gate_a * made.attn(scale_a * made.norm1(one) + shift_a) + one
            whole = gate_f * made.ffn(scale_f * made.norm2(middle) + shift_f) + middle
        else:
            middle = gate_a * made.attn(made.norm1(scale_a * one + shift_a)) + one
            whole = gate_f * made.ffn(made.norm2(scale_f * middle + shift_f)) + middle
        expect_close(got[i : i + 1], whole)


@torch.no_grad()
def test_gates_of_zero_leave_the_features_and_gates_of_one_leave_the_block():
    made, x, z = block(), a_map(), torch.randn(2, 3, 8)
    zero = blocks.Adapter(8, 3, DIM, "mean", "zero")(z)
    assert torch.equal(blocks.degradation_aware(made, x, zero, "after"), x)
    one = blocks.Adapter(8, 3, DIM, "mean", "one")(z)
    for modulate in ("after", "before"):
        expect_close(blocks.degradation_aware(made, x, one, modulate), made(x))


def test_a_gate_of_zero_learns():
    made, x, z = block(), a_map(), torch.randn(2, 3, 8)
    adapter = blocks.Adapter(8, 3, DIM, "mean", "zero")
    blocks.degradation_aware(made, x, adapter(z), "after").square().mean().backward()
    assert adapter.linear.weight.grad[: 2 * DIM].abs().sum() > 0


# --- equations 14 to 20 ---------------------------------------------------------------------------


@pytest.mark.parametrize("scaled", [False, True])
@torch.no_grad()
def test_the_reference_attention_to_words(scaled):
    made = moved(blocks.TokenReference(SMALL["size"], DIM, scaled, "zero"))
    x, (tokens, there) = a_map(), some_tokens()
    got = made(x, tokens, there)
    scale = 1 / math.sqrt(DIM) if scaled else 1.0
    for i, count in enumerate((3, 5)):
        reference = made.mlp(tokens[i, :count])
        key, value = reference @ made.w_k.weight.T, reference @ made.w_v.weight.T
        normalised = made.norm(x[i : i + 1])[0]
        for row, column in ((0, 0), (3, 5), (1, 2)):
            query = normalised[:, row, column] @ made.w_q.weight.T
            expected = slow_attention(query[None], key, value, scale)[0]
            expect_close(got[i, :, row, column], expected)


@pytest.mark.parametrize("residual", [True, False])
@torch.no_grad()
def test_the_content_aware_block(residual):
    made, x, (tokens, there) = block(), a_map(), some_tokens()
    reference = moved(blocks.TokenReference(SMALL["size"], DIM, False, "zero"))
    got = blocks.content_aware(made, x, reference, tokens, there, residual)
    middle = made.attn(made.norm1(x)) + x  # 14
    middle = reference(middle, tokens, there) + middle  # 15
    refined = made.ffn(made.norm2(middle))  # 16
    expect_close(got, refined + middle if residual else refined)


# --- equations 21 to 29 ---------------------------------------------------------------------------


@pytest.mark.parametrize("softmax", ["channels", "pixels"])
@torch.no_grad()
def test_the_local_reference_attention(softmax):
    made = moved(blocks.LocalReference(DIM, softmax))
    x, reference = a_map(), a_map()
    own = made.w2(made.w1(x).clamp(min=0))
    other = made.w2(made.w1(reference).clamp(min=0))
    likeness = made.wa(own + other).exp()
    got = made(x, reference)
    for i, channel, row, column in ((0, 0, 0, 0), (1, 3, 2, 5)):
        whole = likeness[i, :, row, column].sum()
        if softmax == "pixels":
            whole = likeness[i, channel].sum()
        weight = likeness[i, channel, row, column] / whole
        expected = own[i, channel, row, column] + weight * other[i, channel, row, column]
        expect_close(got[i, channel, row, column], expected)


@torch.no_grad()
def test_the_global_reference_attention():
    made = moved(blocks.GlobalReference(DIM, HEADS))
    x, reference = a_map(), a_map()
    query = made.q_dwconv(made.q(x)).flatten(2)
    key, value = made.kv_dwconv(made.kv(reference)).flatten(2).split(DIM, 1)
    found = torch.zeros(2, DIM, 24)
    for i in range(2):
        for head in range(HEADS):
            own = range(head * DIM // HEADS, (head + 1) * DIM // HEADS)
            for asking in own:
                likeness = []
                for other in own:
                    cosine = (query[i, asking] * key[i, other]).sum()
                    cosine = cosine / query[i, asking].norm() / key[i, other].norm()
                    likeness.append((cosine * made.temperature[head, 0, 0]).exp())
                for weight, other in zip(likeness, own, strict=True):
                    found[i, asking] += weight / sum(likeness) * value[i, other]
    expect_close(made(x, reference), made.project_out(found.reshape(2, DIM, 4, 6)))


@pytest.mark.parametrize("scale", [1, 2, 4])
@torch.no_grad()
def test_the_reference_based_block(scale):
    made, x = block(), a_map()
    picture = torch.rand(2, 3, 4 * scale, 6 * scale)
    reference = moved(blocks.PictureReference(DIM, HEADS, scale, "channels", "zero"))
    got = blocks.reference_based(made, x, reference, picture)
    of_picture = reference.phi(picture)  # 21
    assert of_picture.shape == (2, DIM // 2, 4, 6)
    middle = made.attn(made.norm1(x)) + x  # 22
    normalised = reference.norm(middle)
    first, second = normalised[:, : DIM // 2], normalised[:, DIM // 2 :]  # 23
    local = reference.local_attention(first, of_picture)
    everywhere = reference.global_attention(second, of_picture)
    middle = reference.theta(torch.cat([local, everywhere], 1)) + middle  # 24
    expect_close(got, made.ffn(made.norm2(middle)) + middle)  # 25


# --- the whole ------------------------------------------------------------------------------------


def model(**settings) -> nn.Module:
    torch.manual_seed(0)
    return lmdir.build(small_backbone("restormer"), lmdir.Config(**(SMALL | settings))).eval()


def data(height: int = 16, width: int = 24) -> dict[str, torch.Tensor]:
    entries = lmdir.needs(lmdir.Config())
    return batch(height, width, needs=entries, size=SMALL["size"])


@pytest.mark.parametrize("row", ROWS)
@torch.no_grad()
def test_a_row_of_table_three_reads_its_own_priors_and_no_other(row):
    made, given = moved(model(reads=ROWS[row])), data()
    asked = lmdir.needs(made.config)
    assert {name.partition(".")[0] for name in asked} == set(ROWS[row])
    own = {name: given[name] for name in ("lq", *asked)}
    assert torch.isfinite(made(own)).all()
    for name in asked:
        if not name.endswith("_mask"):
            changed = made(own | {name: own[name].flip(0)})
            assert not torch.equal(changed, made(own)), name


@pytest.mark.parametrize("size", [(16, 24), (17, 23), (1, 2)])
@torch.no_grad()
def test_row_one_and_gates_of_one_are_the_backbone_itself(size):
    given = data(*size)
    for settings in ({"reads": ()}, {"start": "one"}):
        made = model(**settings)
        expect_close(made(given), made.network(given["lq"]))


@torch.no_grad()
def test_at_the_start_the_whole_is_the_decoder_of_what_the_encoder_embeds():
    """With gates of zero the encoder's blocks do nothing; a random start is no identity."""
    given, zero = data(), model()
    image, parts = given["lq"], zero.network
    full = parts.patch_embed(image)
    half, maps = parts.down1_2(full), zero._encoded(image, given)
    for got, expected in zip(maps, (full, half, parts.down2_3(half)), strict=True):
        assert torch.equal(got, expected)
    random = model(start="random")
    assert not torch.equal(random._encoded(image, given)[0], random.network.patch_embed(image))


@torch.no_grad()
def test_a_picture_of_another_size_is_brought_to_the_images():
    made, given = moved(model()), data()
    given["reference.picture"] = torch.rand(2, 3, 40, 30)
    assert made(given).shape == (2, 3, 16, 24)
    smaller = blocks.as_large_as(given["reference.picture"], given["lq"])
    expect_close(made(given), made(given | {"reference.picture": smaller}))


@torch.no_grad()
def test_embeddings_are_what_figure_ten_shows():
    made, given = moved(model()), data()
    found = made.embeddings(given)
    expect_close(found["text"], given["degradation.tokens"].mean(1))
    assert found["image"].shape == found["refined"].shape == (2, 8)
    with pytest.raises(BenchError, match="nothing to embed"):
        model(reads=()).embeddings(given)


def test_tokens_of_another_width_are_refused():
    given = data()
    given["content.tokens"] = torch.randn(2, 4, 7)
    with pytest.raises(BenchError, match=r"content.tokens: expected \(B,n,6\).*content_size"):
        model()(given)
    assert model(content_size=7)(given).shape == (2, 3, 16, 24)


def test_another_network_is_refused_before_any_work():
    with pytest.raises(BenchError, match="no Restormer"):
        lmdir.check_network(lmdir.Config(), small_backbone("nafnet"))
    with pytest.raises(BenchError, match="no Restormer"):
        lmdir.check_network(lmdir.Config(), small_backbone("promptir"))
    with pytest.raises(BenchError, match="got 'content' twice"):
        lmdir.Config(reads=("content", "content"))
