"""The tokenizer that belongs to a model."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from components.models import hub
from components.models.checkpoint import TOKENIZER_FILES
from components.models.errors import ModelLoadError, first_line
from components.models.original_format import TOKENIZER_REPOSITORY
from components.models.progress import Progress
from components.models.source import find_source

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

_COMPLETE = ("tokenizer.json", "vocab.json")
"""The supported vocabularies; vocab.json needs merges.txt beside it."""


def choose_tokenizer(
    given: "PreTrainedTokenizerBase | str | os.PathLike[str] | None",
    folder: Path,
    config: "PreTrainedConfig",
    name: str,
    *,
    is_original: bool,
    local_files_only: bool,
    progress: Progress,
) -> "PreTrainedTokenizerBase":
    """Return the `given` tokenizer, an object or a name, or else the one in the model's `folder`.

    A checkpoint in the original format without one gets that of the published models. Raises ModelLoadError
    also if the model of `config` has no embedding for a token that a text can contain.
    """
    from transformers import PreTrainedTokenizerBase

    if isinstance(given, PreTrainedTokenizerBase):
        tokenizer = given
    elif isinstance(given, str | os.PathLike):
        tokenizer = _named(str(given), config, local_files_only, progress)
    elif given is not None:
        raise ModelLoadError(
            f"tokenizer= was given a {type(given).__name__}. Give a tokenizer of transformers, such as "
            "PreTrainedTokenizerFast(tokenizer_object=...), or the hub id or folder of one."
        )
    elif is_original and not _has_vocabulary(folder):
        tokenizer = _published(config, name, local_files_only, progress)
    else:
        tokenizer = _in_folder(folder, config, name)
    _check_numbers(tokenizer, config, name)
    return tokenizer


def _named(
    name: str, config: "PreTrainedConfig", local_files_only: bool, progress: Progress
) -> "PreTrainedTokenizerBase":
    source = find_source(name)
    if not isinstance(source, Path):
        source = hub.download(
            source.id,
            TOKENIZER_FILES,
            revision=source.revision,
            local_files_only=local_files_only,
            progress=progress,
        )
    return _in_folder(source, config, name)


def _published(
    config: "PreTrainedConfig", name: str, local_files_only: bool, progress: Progress
) -> "PreTrainedTokenizerBase":
    try:
        return _named(TOKENIZER_REPOSITORY, config, local_files_only, progress)
    except ModelLoadError as error:
        raise ModelLoadError(
            f'"{name}" has no tokenizer, so text cannot be split into tokens, and the one the published '
            f"models use ({TOKENIZER_REPOSITORY}) could not be downloaded. "
            "Save that tokenizer's tokenizer.json into the model's folder."
        ) from error


def _in_folder(folder: Path, config: "PreTrainedConfig", name: str) -> "PreTrainedTokenizerBase":
    if not _has_vocabulary(folder):
        raise ModelLoadError(
            f'"{name}" has no tokenizer, so text cannot be split into tokens. Save the tokenizer it was '
            "trained with into the same folder, or name it with tokenizer=; looked for were "
            f"{', '.join(TOKENIZER_FILES)}."
        )
    if not any((folder / file).is_file() for file in _COMPLETE):
        # From this file transformers builds tokens that differ from training, depending on what is installed.
        raise ModelLoadError(
            f'"{name}" has its tokenizer as tokenizer.model alone, a format of sentencepiece or '
            "tiktoken that does not fully say how a text is split. Add the tokenizer.json of the model it "
            "was made from, or name that model with tokenizer=."
        )
    try:
        return _read_tokenizer(folder, config)
    # Tokenizers have many formats and their own error types, some of them plain Exception.
    except Exception as error:
        raise ModelLoadError(
            f'The tokenizer of "{name}" cannot be read ({first_line(error)}). Download or save it again; '
            "tokenizer.json alone is enough."
        ) from error


def _has_vocabulary(folder: Path) -> bool:
    return any((folder / file).is_file() for file in (*_COMPLETE, "tokenizer.model"))


def _read_tokenizer(folder: Path, config: "PreTrainedConfig") -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    described = (folder / "tokenizer_config.json").is_file()
    if described or not (folder / "tokenizer.json").is_file():
        # The trained tokenizer of a Mamba-2 model may be of any class; the file names it.
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, config=config, local_files_only=True, trust_remote_code=False
        )
        return tokenizer
    # Left to itself AutoTokenizer would guess a class from the model's and rebuild parts of the
    # pipeline; tokenizer.json is complete but for which tokens are special to the model.
    fast: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    for role in ("bos", "eos", "pad"):
        number = getattr(config, f"{role}_token_id")
        if isinstance(number, int) and 0 <= number < len(fast):
            setattr(fast, f"{role}_token", fast.convert_ids_to_tokens(number))
    return fast


def _check_numbers(tokenizer: "PreTrainedTokenizerBase", config: "PreTrainedConfig", name: str) -> None:
    """Refuse tokens beyond the model's embeddings, unless they are special and ordinary text has none.

    People often add such tokens, for padding or chats, without resizing the embeddings. The bridge
    refuses a text that spells one out.
    """
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    unasked = {*tokenizer("")["input_ids"], tokenizer.unk_token_id}  # any text may contain these
    beyond = {number for number in tokenizer.get_vocab().values() if number >= config.vocab_size}
    if beyond - (special - unasked):
        raise ModelLoadError(
            f'The tokenizer for "{name}" belongs to another model: it has tokens up to number {max(beyond)}, '
            f"and the model knows {config.vocab_size}. Save the tokenizer that the model was trained with."
        )
