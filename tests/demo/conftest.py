"""The committed demo model, loaded once."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, Mamba2ForCausalLM, PreTrainedTokenizerBase

from components.bridge import ModelBridge
from components.demo import MODEL_FOLDER


@pytest.fixture(scope="session")
def demo_tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(MODEL_FOLDER)


@pytest.fixture(scope="session")
def demo_model() -> Mamba2ForCausalLM:
    return AutoModelForCausalLM.from_pretrained(MODEL_FOLDER).eval()


@pytest.fixture(scope="session")
def demo_bridge(demo_model: Mamba2ForCausalLM, demo_tokenizer: PreTrainedTokenizerBase) -> ModelBridge:
    return ModelBridge(demo_model, demo_tokenizer)
