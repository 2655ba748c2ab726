"""Weights in several files, as Hugging Face stores them, with an index next to them: {"weight_map": {name: file}}."""

from __future__ import annotations

import json
import re
from pathlib import Path

from repro.errors import ReproError
from repro.untrusted import printable

SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")
MODEL_STATES = "*mp_rank_*_model_states.pt"  # DeepSpeed's files of weights, whole or in shards
ZERO_SHARD = re.compile(r"(bf16_|fp16_)?zero_pp_rank_\d+_mp_rank_\d+_(model|optim)_states\.pt")
MERGE_ZERO = "merge all shards with the zero_to_fp32.py next to their folder: python zero_to_fp32.py . OUTPUT"
MAX_INDEX_BYTES = 50_000_000
WHOLE_FILES = ("model.safetensors", "pytorch_model.bin")  # names on Hugging Face's hub of weights in one file


def index_in(folder: Path) -> Path | None:
    """Return the index of shards in a folder, safetensors before others, or None."""
    indices = sorted(folder.glob("*.index.json"), key=lambda path: (".safetensors." not in path.name, path.name))
    return indices[0] if indices else None


def whole_file_in(folder: Path) -> Path | None:
    """Return the file with all weights in a folder from Hugging Face's hub, safetensors before others, or None."""
    return next((folder / name for name in WHOLE_FILES if (folder / name).is_file()), None)


def weight_map(index: Path) -> dict[str, str]:
    """Return name of an array -> name of the file next to the index that holds it.

    Raises ReproError for an index of another form, and where files are missing.
    """
    files = None
    if index.stat().st_size <= MAX_INDEX_BYTES:
        try:
            content = json.loads(index.read_bytes())
            files = content.get("weight_map") if isinstance(content, dict) else None
        except (ValueError, RecursionError):
            pass
    if not isinstance(files, dict) or not files or not all(_is_file_name(file) for file in files.values()):
        raise ReproError(f"{index} is not an index of shards: it has no weight_map with a file for each array")
    missing = sorted({file for file in files.values() if not (index.parent / file).is_file()})
    if missing:
        raise ReproError(f"{index} needs {len(missing)} more files next to it: {printable(', '.join(missing[:3]))}")
    return files


def check_not_a_shard(path: Path) -> None:
    """Raise ReproError for one of several shards, which lacks the arrays in the others, and for DeepSpeed's folder."""
    if ZERO_SHARD.fullmatch(path.name):
        raise ReproError(f"{path} is a shard of DeepSpeed's ZeRO; {MERGE_ZERO}")
    if path.is_dir() and (files := sorted([*path.glob(MODEL_STATES), *path.glob(f"*/{MODEL_STATES}")])):
        whole = next((file for file in files if not ZERO_SHARD.fullmatch(file.name)), None)
        raise ReproError(f"{path} is a folder of DeepSpeed; {f'give {whole}' if whole else MERGE_ZERO}")
    match = SHARD.fullmatch(path.name)
    if match and int(match[3]) > 1:
        index = index_in(path.parent)
        advice = f"give {index}" if index else f"download its index, {match[1]}{match[4]}.index.json, and all shards"
        raise ReproError(f"{path} is shard {int(match[2])} of {int(match[3])}; {advice}")


def _is_file_name(name: object) -> bool:
    """Return whether a name is that of a file in the same folder, and not of another shard index."""
    return isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name) is not None and not name.endswith(".json")
