"""Models, loaded once for all sessions, and tokenized prompts."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import streamlit as st

from explorer.jobs import Report, no_report
from explorer.settings import settings
from explorer.threads import use_threads

if TYPE_CHECKING:
    from torch import Tensor

    from components.bridge import ModelBridge

PROMPTS_HELD = 16


@st.cache_resource(max_entries=settings().models_held, show_spinner=False)
def bridge(model: str, _report: Report = no_report) -> ModelBridge:
    """The model, loaded once per process. Raises ModelLoadError, also for one that the settings exclude."""
    from components.models import ModelLoadError, load_bridge

    if not settings().allows(model):
        raise ModelLoadError(settings().refusal(model))
    use_threads(inf)
    return load_bridge(model, progress=_report)


@st.cache_resource(max_entries=PROMPTS_HELD, show_spinner=False)
def encoded(model: str, prompt: str, _report: Report = no_report) -> tuple[Tensor, list[str]]:
    """Ids [1, s] of a prompt and the text of each token. Errors as for `capture`."""
    settings().check_prompt(prompt)
    _report("Counting the tokens", None)
    ids = bridge(model, _report).to_tokens(prompt)
    settings().check_tokens(ids.shape[1])
    return ids, bridge(model).to_str_tokens(ids[0])
