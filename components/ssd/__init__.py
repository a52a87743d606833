"""The mathematics of one layer, Mamba-2 or softmax: tensors in, tensors out. Glossary: `terms`."""

from components.ssd.attention import content, decay, effective_attention
from components.ssd.edited import EditedRows
from components.ssd.measures import MEASURED_ROWS, Estimate, half_life, mean_distance
from components.ssd.pooling import pooled_attention, pooled_content, pooled_decay, tile_edges
from components.ssd.scan import reconstruct, ssm_state, ssm_states
from components.ssd.softmax import (
    SoftmaxTerms,
    attention_of,
    pooled_scores,
    pooled_softmax,
    scores,
    softmax_attention,
)
from components.ssd.state import state_contributions, state_norms, state_shares
from components.ssd.terms import SSDTerms

__all__ = [
    "MEASURED_ROWS",
    "EditedRows",
    "Estimate",
    "SSDTerms",
    "SoftmaxTerms",
    "attention_of",
    "content",
    "decay",
    "effective_attention",
    "half_life",
    "mean_distance",
    "pooled_attention",
    "pooled_content",
    "pooled_decay",
    "pooled_scores",
    "pooled_softmax",
    "reconstruct",
    "scores",
    "softmax_attention",
    "ssm_state",
    "ssm_states",
    "state_contributions",
    "state_norms",
    "state_shares",
    "tile_edges",
]
