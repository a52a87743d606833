"""Reads and edits a running Hugging Face model without changing it."""

from components.bridge.activation_cache import ActivationCache, matrix_inputs, ssd_inputs
from components.bridge.contributions import (
    contribution_inputs,
    contribution_inputs_of,
    contribution_terms,
    contributions_of,
    logit_direction,
)
from components.bridge.depthwise_conv1d import DepthwiseConv1DBridge
from components.bridge.effects import (
    CONTROL_SEED,
    LIKELY,
    Effects,
    Prediction,
    cut_each,
    effects_of,
    estimated_effects_of,
    mute_each,
    predict,
)
from components.bridge.estimates import estimate
from components.bridge.families import SUPPORTED, family_of, unsupported
from components.bridge.gated_rms_norm import GatedRMSNormBridge
from components.bridge.generalized_component import GeneralizedComponent
from components.bridge.generation import PIECE_TOKENS, Generation, Step
from components.bridge.head_readings import READINGS, rank_correlation, readings
from components.bridge.heads import HeadsBridge
from components.bridge.hook_point import HookPoint
from components.bridge.model_bridge import ModelBridge
from components.bridge.norms import frozen_norms, norm_divisors
from components.bridge.patching import Patching, attribution_patch, part_at, patch, patched
from components.bridge.softmax_attention import SoftmaxAttentionBridge
from components.bridge.ssm2_mixer import SSM2MixerBridge
from components.bridge.ssm_block import SSMBlockBridge
from components.bridge.sweeps import sweep

__all__ = [
    "CONTROL_SEED",
    "LIKELY",
    "PIECE_TOKENS",
    "READINGS",
    "SUPPORTED",
    "ActivationCache",
    "DepthwiseConv1DBridge",
    "Effects",
    "GatedRMSNormBridge",
    "GeneralizedComponent",
    "Generation",
    "HeadsBridge",
    "HookPoint",
    "ModelBridge",
    "Patching",
    "Prediction",
    "SSM2MixerBridge",
    "SSMBlockBridge",
    "SoftmaxAttentionBridge",
    "Step",
    "attribution_patch",
    "contribution_inputs",
    "contribution_inputs_of",
    "contribution_terms",
    "contributions_of",
    "cut_each",
    "effects_of",
    "estimate",
    "estimated_effects_of",
    "family_of",
    "frozen_norms",
    "logit_direction",
    "matrix_inputs",
    "mute_each",
    "norm_divisors",
    "part_at",
    "patch",
    "patched",
    "predict",
    "rank_correlation",
    "readings",
    "ssd_inputs",
    "sweep",
    "unsupported",
]
