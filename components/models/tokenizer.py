"""The tokenizer that belongs to a model."""

from pathlib import Path
from typing import TYPE_CHECKING

from components.models.checkpoint import TOKENIZER_FILES
from components.models.errors import ModelLoadError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


def has_tokenizer(folder: Path) -> bool:
    """Tell whether `folder` holds a vocabulary, in any of the forms that transformers reads."""
    return any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "vocab.json"))


def load_tokenizer(folder: Path, config: "PreTrainedConfig", name: str) -> "PreTrainedTokenizerBase":
    """Load the tokenizer in `folder`, and check that the model `config` has an embedding for each token."""
    if not has_tokenizer(folder):
        raise ModelLoadError(
            f'"{name}" has no tokenizer, so text cannot be cut into its tokens. Save the tokenizer it was '
            f"trained with into the same folder; looked for were {', '.join(TOKENIZER_FILES)}."
        )
    try:
        tokenizer = _read_tokenizer(folder, config)
    # Tokenizers come with many formats and their own error types, some of them plain Exception.
    except Exception as error:
        raise ModelLoadError(
            f'The tokenizer of "{name}" cannot be read ({first_line(error)}). Download or save it again; '
            "tokenizer.json alone is enough."
        ) from error
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= config.vocab_size:
        raise ModelLoadError(
            f'The tokenizer in "{name}" belongs to another model: it has tokens up to number {largest}, and '
            f"the model knows {config.vocab_size}. Save the tokenizer that the model was trained with."
        )
    return tokenizer


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
        if isinstance(number, int) and number < len(fast):
            setattr(fast, f"{role}_token", fast.convert_ids_to_tokens(number))
    return fast
