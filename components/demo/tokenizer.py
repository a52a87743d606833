"""Builds the byte-level BPE tokenizer of the demo model from the corpus vocabulary."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from components.demo.vocabulary import one_token_texts

END_OF_TEXT = "<|end|>"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE in which each corpus word, with and without a leading space, is one token.

    The merges are learnt from the word list alone and run until no pair is left to merge, so every
    listed form ends as a single token. The 256 byte tokens below them encode any other text, and
    with neither a normaliser nor an added prefix space decoding gives back exactly what was encoded.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,  # never reached: the merges of the word list run out first
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[END_OF_TEXT],
        show_progress=False,
    )
    bpe.train_from_iterator(one_token_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
