"""The embedding, with which every forward pass of a model begins."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from components.bridge.generalized_component import GeneralizedComponent, Removable
from components.bridge.hook_point import run_at


class EmbeddingBridge(GeneralizedComponent):
    """Wraps the embedding; hook_in are the token ids [b, s], hook_out their embeddings [b, s, hidden].

    From its input the run counts the positions, whoever calls the model.
    """

    def _attach(self, module: nn.Module) -> list[Removable]:
        return [module.register_forward_pre_hook(self._count_positions), *super()._attach(module)]

    def _count_positions(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        run = run_at(self.hook_in)
        if run is not None:
            run.advance(args[0].shape[1])

    def _show_output(self, module: nn.Module, args: Any, output: Tensor) -> Any:
        run = run_at(self.hook_out)
        if run is not None and run.grad and not output.requires_grad:
            output.requires_grad_()  # with frozen weights, the graph starts here
        return super()._show_output(module, args, output)
