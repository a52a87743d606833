"""The mathematics of one layer, whatever its kind: tensors in, tensors out.

Begin with `reference`, which has the formulas as papers write them; the glossary is in `terms`.
"""

from components.ssd.attention import content, decay, effective_attention
from components.ssd.batches import stacked
from components.ssd.changes import cut, keep_last, mute, put, scale, take_out
from components.ssd.compared import ComparedTerms
from components.ssd.contributions import (
    Contributions,
    ContributionTerms,
    SourceMeasures,
    contribution_norms,
    contributions_toward,
    pooled_contribution_norms,
    pooled_contributions_toward,
)
from components.ssd.edited import EditedRows
from components.ssd.edits import EDITS, Edit, Sizes, edit_of, hooks_of
from components.ssd.head_edit import HeadEdit, slice_of
from components.ssd.head_edits import (
    CutEdge,
    CutSource,
    FreezeDt,
    KeepLast,
    Mute,
    ScaleDecay,
    ScaleDt,
)
from components.ssd.kinds import (
    FORMER_NAMES,
    FORMER_READINGS,
    KINDS,
    Factor,
    Head,
    Kind,
    Place,
    Statistic,
    attention_of,
    kind_of,
)
from components.ssd.matrix import MatrixTerms, matrix_entries, pooled_entries
from components.ssd.measures import (
    CELL_EFFECT,
    CELL_SHARE,
    MEASURED_ROWS,
    MEASURES,
    OF_CELL,
    Estimate,
    Measure,
    Quantity,
    half_life,
    mean_distance,
    row_share,
)
from components.ssd.mixer_terms import MixerTerms
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
from components.ssd.terms import SSDTerms, log_decay_of

__all__ = [
    "CELL_EFFECT",
    "CELL_SHARE",
    "EDITS",
    "FORMER_NAMES",
    "FORMER_READINGS",
    "KINDS",
    "MEASURED_ROWS",
    "MEASURES",
    "OF_CELL",
    "ComparedTerms",
    "ContributionTerms",
    "Contributions",
    "CutEdge",
    "CutSource",
    "Edit",
    "EditedRows",
    "Estimate",
    "Factor",
    "FreezeDt",
    "Head",
    "HeadEdit",
    "KeepLast",
    "Kind",
    "MatrixTerms",
    "Measure",
    "MixerTerms",
    "Mute",
    "Place",
    "Quantity",
    "SSDTerms",
    "ScaleDecay",
    "ScaleDt",
    "Sizes",
    "SoftmaxTerms",
    "SourceMeasures",
    "Statistic",
    "attention_of",
    "content",
    "contribution_norms",
    "contributions_toward",
    "cut",
    "decay",
    "edit_of",
    "effective_attention",
    "half_life",
    "hooks_of",
    "keep_last",
    "kind_of",
    "log_decay_of",
    "matrix_entries",
    "mean_distance",
    "mute",
    "pooled_attention",
    "pooled_content",
    "pooled_contribution_norms",
    "pooled_contributions_toward",
    "pooled_decay",
    "pooled_entries",
    "pooled_scores",
    "pooled_softmax",
    "put",
    "reconstruct",
    "row_share",
    "scale",
    "scores",
    "slice_of",
    "softmax_attention",
    "ssm_state",
    "ssm_states",
    "stacked",
    "state_contributions",
    "state_norms",
    "state_shares",
    "take_out",
    "tile_edges",
]
