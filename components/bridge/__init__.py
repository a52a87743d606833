"""Reads and edits a running Hugging Face model without changing it."""

from components.bridge.activation_cache import ActivationCache, matrix_inputs, ssd_inputs
from components.bridge.contributions import contribution_inputs, contributions_of, logit_direction
from components.bridge.depthwise_conv1d import DepthwiseConv1DBridge
from components.bridge.effects import (
    LIKELY,
    Effects,
    Prediction,
    cut_each,
    effects_of,
    mute_each,
    predict,
)
from components.bridge.families import SUPPORTED, family_of, unsupported
from components.bridge.gated_rms_norm import GatedRMSNormBridge
from components.bridge.generalized_component import GeneralizedComponent
from components.bridge.generation import PIECE_TOKENS, Generation, Step
from components.bridge.head_readings import READINGS, rank_correlation, readings
from components.bridge.heads import HeadsBridge
from components.bridge.hook_point import HookPoint
from components.bridge.model_bridge import ModelBridge
from components.bridge.softmax_attention import SoftmaxAttentionBridge
from components.bridge.ssm2_mixer import SSM2MixerBridge
from components.bridge.ssm_block import SSMBlockBridge
from components.bridge.sweeps import sweep

__all__ = [
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
    "Prediction",
    "SSM2MixerBridge",
    "SSMBlockBridge",
    "SoftmaxAttentionBridge",
    "Step",
    "contribution_inputs",
    "contributions_of",
    "cut_each",
    "effects_of",
    "family_of",
    "logit_direction",
    "matrix_inputs",
    "mute_each",
    "predict",
    "rank_correlation",
    "readings",
    "ssd_inputs",
    "sweep",
    "unsupported",
]
