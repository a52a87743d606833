"""The bridge of a Mamba-2 mixer: hooks inside it, effective attention and state from a capture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from jaxtyping import Float32
from torch import Tensor, nn

from components.bridge.depthwise_conv1d import DepthwiseConv1DBridge
from components.bridge.gated_rms_norm import GatedRMSNormBridge
from components.bridge.generalized_component import GeneralizedComponent, Removable, show_input
from components.bridge.heads import BytesPerToken, HeadsBridge
from components.bridge.hook_point import Conversion, HookPoint, Run, run_at
from components.bridge.mixer_record import MixerRecord, MixerStep, gated
from components.bridge.scan_parameters import has_norm
from components.ssd import content, decay, effective_attention, reconstruct, ssm_state, ssm_states

if TYPE_CHECKING:
    from components.bridge.activation_cache import ActivationCache


_SCRATCH = 8
"""Temporary float32 arrays of the size of B and C that reading a layer takes."""
_ARRAYS_OF_TERMS = 4
"""Temporary float32 arrays of the size of all terms, x too, that reading those takes."""


class SSM2MixerBridge(HeadsBridge):
    """Wraps a Mamba-2 mixer without reimplementing it.

    `in_proj`, `out_proj`, the inner norm and the mixer itself run as modules, and their hooks are PyTorch's.
    Hooks between are derived from `in_proj`'s output: hook_x [b,s,h,p], hook_B and hook_C [b,s,g,n],
    hook_dt [b,s,h], hook_decay and hook_attention [b,h,queries,keys], all float32, and hook_log_decay
    [b,s,h], A·dt in float64. Only if a hook edits one
    of them, in place or by returning another, does the bridge recompute the scan's output, y = M·dt·x + D·x,
    which replaces the model's own at the norm's input, where hook_scan [b,s,h,p] sees it. Entries above the
    diagonal are ignored: no query reads a later key. The model's recurrent state lacks such edits, so a run
    that has edited a mixer computes y from the edited terms in every later step too.
    """

    kind = "mamba2"

    hook_aliases: ClassVar[Mapping[str, str]] = {
        "hook_conv": "conv1d.hook_out",
        "hook_in_proj": "in_proj.hook_out",
        "hook_inner_norm": "inner_norm.hook_out",
        "hook_ssm_out": "hook_out",
    }

    def __init__(
        self,
        name: str,
        config: Any = None,
        submodules: Mapping[str, GeneralizedComponent] | None = None,
        conversion_rule: Conversion | None = None,
        hook_alias_overrides: Mapping[str, str] | None = None,
        optional: bool = False,
    ) -> None:
        inside = {
            "in_proj": GeneralizedComponent("in_proj"),
            "conv1d": DepthwiseConv1DBridge("conv1d"),
            "inner_norm": GatedRMSNormBridge("norm", optional=True),
            "out_proj": GeneralizedComponent("out_proj"),
        }
        super().__init__(
            name, config, {**inside, **(submodules or {})}, conversion_rule, hook_alias_overrides, optional
        )
        self.projection_scale: str | None = None
        self.hook_x = HookPoint(f"{name}.hook_x")
        self.hook_B = HookPoint(f"{name}.hook_B")
        self.hook_C = HookPoint(f"{name}.hook_C")
        self.hook_dt = HookPoint(f"{name}.hook_dt")
        self.hook_log_decay = HookPoint(f"{name}.hook_log_decay")
        self.hook_decay = HookPoint(f"{name}.hook_decay", position_dim=2)
        self.hook_attention = HookPoint(f"{name}.hook_attention", position_dim=2)
        self.hook_scan = HookPoint(f"{name}.hook_scan")

    def compute_effective_attention(
        self, cache: ActivationCache, layer_idx: int, include_dt_scaling: bool = False
    ) -> Float32[Tensor, "batch head seq seq"]:
        """M = L ∘ (C Bᵀ) of every head, zero above the diagonal; with the edits of hooks to L or M.

        With `include_dt_scaling` column j is multiplied by dt[j], so that y[i] = Σ_j M[i,j]·x[j] + D·x[i].
        Raises RuntimeError naming what the cache lacks. For a head or a window of long texts, use
        `components.ssd.effective_attention` on `cache.ssd_terms(layer_idx)`.
        """
        terms = cache.ssd_terms(layer_idx, with_x=False)
        return effective_attention(terms, include_dt_scaling=include_dt_scaling)

    def compute_ssm_state(
        self, cache: ActivationCache, layer_idx: int, time_step: int | None = None
    ) -> Float32[Tensor, "batch head *seq dim state"]:
        """State after every position [b, heads, seq, head_dim, state], or after `time_step`, without `seq`.

        Raises RuntimeError naming what the cache lacks, IndexError when there is no such position, ValueError
        where a hook replaced rows of L or M.
        """
        terms = cache.ssd_terms(layer_idx)
        return ssm_states(terms) if time_step is None else ssm_state(terms, time_step)

    @property
    def heads(self) -> int:
        """Number of heads."""
        return int(self.A_log.shape[0])

    @property
    def kernel(self) -> int:
        """Positions that the convolution before the scan mixes: the current one and those before."""
        convolution: Any = self.conv1d.original_component
        return int(convolution.kernel_size[0])

    def bytes_per_token(self, itemsize: int) -> BytesPerToken:
        """The run keeps B, C and dt; terms have them in float32, the cumulative decay in float64."""
        mixer: Any = self.original_component
        grouped, inner = 2 * mixer.n_groups * mixer.ssm_state_size, mixer.num_heads * mixer.head_dim
        with_x = inner + grouped + mixer.num_heads
        return BytesPerToken(
            projected=(grouped + mixer.num_heads) * itemsize,
            given=mixer.hidden_size * itemsize,
            terms=(grouped + mixer.num_heads) * 4 + mixer.num_heads * 8,
            scratch=_SCRATCH * grouped * 4,
            continued=(with_x + 2 * inner) * itemsize,  # what was projected, and the scan's output
            all_terms=_ARRAYS_OF_TERMS * with_x * 4,
        )

    @property
    def _key(self) -> str:
        return self.hook_out.name.removesuffix(".hook_out")

    def set_original_component(self, module: nn.Module) -> None:
        """Wrap a mixer; see `GeneralizedComponent`."""
        if not has_norm(module):  # an identity instead of it is never called
            self.submodules.pop("inner_norm", None)
            self.aliases.pop("hook_inner_norm", None)
        super().set_original_component(module)
        self.conv1d.hook_in.values_of = self.heads, int(self.head_dim)

    def _attach(self, module: nn.Module) -> list[Removable]:
        scan_output = show_input(self._pass_scan_output)
        reads_scan = self.submodules.get("inner_norm", self.out_proj)
        return [
            module.register_forward_pre_hook(self._take_mask, with_kwargs=True),
            *super()._attach(module),
            # After in_proj's own hooks, which may edit the projection.
            module.get_submodule(self.in_proj.name).register_forward_hook(self._take_projection),
            # Before the norm's own hooks, which see what the norm is given.
            module.get_submodule(reads_scan.name).register_forward_pre_hook(
                scan_output, with_kwargs=True, prepend=True
            ),
        ]

    def _take_mask(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> None:
        """Keep the padding mask, an argument of the mixer, if the run keeps a record of this mixer."""
        run = run_at(self.hook_out)
        record = None if run is None else run.mixers.get(self._key)
        if record is not None and kwargs is not None:
            record.mask = kwargs.get("attention_mask")

    def _take_projection(self, module: nn.Module, args: Any, projected: Tensor) -> None:
        run = run_at(self.hook_out)
        record = None if run is None else run.mixers.get(self._key)
        if run is None or record is None:
            return
        earlier = record.conv_inputs() if record.watched else None
        step = record.begin_step(self._wrapped(), projected, self.projection_scale, self.config)
        if record.watched:
            self._run_hooks(run, record, step, earlier)

    def _run_hooks(self, run: Run, record: MixerRecord, step: MixerStep, earlier: Tensor | None) -> None:
        """Fire the derived hooks of one step, and recompute the scan's output if any edited."""
        points = dict(self.hook_points())

        def edit(name: str, tensor: Tensor) -> Tensor:
            tensor, edited = run.edit(points[name], tensor)
            record.edited = record.edited or edited
            return tensor

        step.interior = record.derive(step, earlier, edit)
        terms = record.terms()
        queries = slice(terms.length - step.projected.shape[1], terms.length)
        if self.hook_decay.name in run.hooks:
            L, edited = run.edit(self.hook_decay, decay(terms, queries=queries))
            if edited:
                step.L = L.tril(queries.start)  # no query reads a later key, whatever was written there
                step.M = content(terms, queries=queries) * step.L
        if self.hook_attention.name in run.hooks:
            M = effective_attention(terms, queries=queries) if step.M is None else step.M
            M, edited = run.edit(self.hook_attention, M)
            step.M = M.tril(queries.start) if edited else step.M
        record.edited = record.edited or step.M is not None
        if record.edited:
            y = reconstruct(record.terms(), queries=queries)
            record.scan_output = gated(y.flatten(2), step.gate)

    def _pass_scan_output(self, y: Tensor) -> Tensor:
        """The scan's output, the model's own or the recomputed one, after hook_scan."""
        run = run_at(self.hook_scan)
        if run is None:
            return y
        record = run.mixers.get(self._key)
        if record is not None and record.scan_output is not None:
            y = record.scan_output.to(y.dtype)
        if self.hook_scan.name not in run.live:
            return y
        if record is not None and self.hook_scan.name in run.hooks:
            record.steps[-1].y = y
        heads = self._wrapped().get_parameter("D").shape[0]
        return run.fire(self.hook_scan, y.unflatten(-1, (heads, -1))).reshape(y.shape)
