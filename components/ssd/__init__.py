"""The mathematics of one layer, whatever its kind: tensors in, tensors out.

Begin with `reference`, which has the formulas as papers write them; the glossary is in `terms`.
"""

from components.ssd.attention import content, decay, effective_attention
from components.ssd.edited import EditedRows
from components.ssd.edits import EDITS, Edit, edit_of, hooks_of
from components.ssd.kinds import (
    FORMER_NAMES,
    KINDS,
    Factor,
    Head,
    Kind,
    MixerTerms,
    Place,
    Statistic,
    attention_of,
    kind_of,
)
from components.ssd.matrix import MatrixTerms, matrix_entries, pooled_entries
from components.ssd.measures import MEASURED_ROWS, MEASURES, Estimate, Measure, half_life, mean_distance
from components.ssd.pooling import pooled_attention, pooled_content, pooled_decay, tile_edges
from components.ssd.scan import reconstruct, ssm_state, ssm_states
from components.ssd.softmax import (
    SoftmaxTerms,
    pooled_scores,
    pooled_softmax,
    scores,
    softmax_attention,
)
from components.ssd.state import state_contributions, state_norms, state_shares
from components.ssd.terms import SSDTerms

__all__ = [
    "EDITS",
    "FORMER_NAMES",
    "KINDS",
    "MEASURED_ROWS",
    "MEASURES",
    "Edit",
    "EditedRows",
    "Estimate",
    "Factor",
    "Head",
    "Kind",
    "MatrixTerms",
    "Measure",
    "MixerTerms",
    "Place",
    "SSDTerms",
    "SoftmaxTerms",
    "Statistic",
    "attention_of",
    "content",
    "decay",
    "edit_of",
    "effective_attention",
    "half_life",
    "hooks_of",
    "kind_of",
    "matrix_entries",
    "mean_distance",
    "pooled_attention",
    "pooled_content",
    "pooled_decay",
    "pooled_entries",
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
