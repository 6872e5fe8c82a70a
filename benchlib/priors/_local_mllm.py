"""A multimodal language model of the library transformers, on this machine.

Any that ``AutoModelForImageTextToText`` reads, from a folder as ``hf download OWNER/NAME`` brings
it. Nothing is fetched, no code of the folder is run, and words are not drawn: the likeliest comes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchlib.contracts import BenchError, shortened
from benchlib.priors import _weights
from benchlib.priors._answers import Answer, readable

VERSION = 1
USES = {"priors/_answers.py": 1, "priors/_weights.py": 1}
PART = ""  # of the folder: itself


def folder_of(folder: str | None, sha256: str | None) -> Path:
    """The model's folder, its weights compared with their SHA-256. Raises BenchError as it says."""
    named = _weights.Folder(folder, sha256)
    return _weights.folder_of(named, "mllm", (PART,))


class Local:
    """One model, loaded once."""

    def __init__(self, folder: Path, device: str) -> None:
        transformers = _weights.extra("transformers", "mllm")
        here = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.processor = transformers.AutoProcessor.from_pretrained(folder, **here)
            model = transformers.AutoModelForImageTextToText.from_pretrained(
                folder, use_safetensors=True, **here
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            said = shortened(str(error), 300)
            raise BenchError(f"mllm: {folder}: no image-text-to-text model ({said})") from None
        self.device = device
        self.name = folder.name
        self.model = model.eval().to(device)

    def ask(self, image: np.ndarray, prompt: str, answer_tokens: int) -> Answer:
        """The answer about an ``(H,W,3)`` uint8 RGB image. Raises BenchError without words."""
        import torch
        from PIL import Image

        content = [
            {"type": "image", "image": Image.fromarray(image)},
            {"type": "text", "text": prompt},
        ]
        given = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.device)
        asked = given["input_ids"].shape[1]
        with torch.inference_mode():
            ids = self.model.generate(**given, max_new_tokens=answer_tokens, do_sample=False)
        answered = ids[0, asked:]
        text = self.processor.decode(answered, skip_special_tokens=True)
        finished = "stop"
        if len(answered) >= answer_tokens:
            finished = "length"
        return Answer(readable(text), self.name, asked, len(answered), finished)
