"""The base class of the bridge's components: each wraps a module and feeds hook points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from components.bridge.hook_point import Conversion, HookPoint


@runtime_checkable
class Removable(Protocol):
    """The handle of a hook or other change to a module."""

    def remove(self) -> None:
        """Restore the module."""


class GeneralizedComponent:
    """Holds a reference to a module of the model and feeds hook points from PyTorch's own forward hooks.

    The module is neither replaced nor registered anywhere, so the model's classes, `state_dict()` and device
    map stay as they were. Attributes that the component lacks come from the module: `mixer.A_log` works.

    Arguments, as in TransformerLens:
        name: where the module is in the parent's module, such as `mixer` or `backbone.embeddings`.
        config: the model's configuration.
        submodules: components of modules inside this one, by the name they have in the bridge.
        conversion_rule: another layout in which `hook_in` and `hook_out` show their tensors.
        hook_alias_overrides: entries that add to or replace `hook_aliases`.
        optional: whether the parent may lack this module.
    """

    hook_aliases: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        name: str,
        config: Any = None,
        submodules: Mapping[str, GeneralizedComponent] | None = None,
        conversion_rule: Conversion | None = None,
        hook_alias_overrides: Mapping[str, str] | None = None,
        optional: bool = False,
    ) -> None:
        self.name = name
        self.config = config
        self.submodules = dict(submodules or {})
        self.optional = optional
        self.aliases = {**self.hook_aliases, **(hook_alias_overrides or {})}
        self.hook_in = HookPoint(f"{name}.hook_in", conversion_rule)
        self.hook_out = HookPoint(f"{name}.hook_out", conversion_rule)
        self.real_components: dict[str, tuple[str, GeneralizedComponent]] = {}
        self._original: nn.Module | None = None
        self._handles: list[Removable] = []

    def __repr__(self) -> str:
        wrapped = "nothing yet" if self._original is None else type(self._original).__name__
        return f"{type(self).__name__}({self.name!r}, wrapping {wrapped})"

    @property
    def original_component(self) -> nn.Module | None:
        """The wrapped module of the model; None before `set_original_component`."""
        return self._original

    def set_original_component(self, module: nn.Module) -> None:
        """Wrap a module and those inside it that `submodules` names.

        Raises ValueError when the module lacks one that is not optional.
        """
        self.remove_hooks()
        self._original = module
        self.real_components = {}
        for key, component in self.submodules.items():
            try:
                inner = module.get_submodule(component.name)
            except AttributeError:
                if component.optional:
                    continue
                raise ValueError(
                    f"{type(module).__name__} has no module {component.name!r}, which {self.name!r} needs."
                ) from None
            component.set_original_component(inner)
            self.real_components[key] = (component.name, component)
        self._handles = self._attach(module)

    def remove_hooks(self) -> None:
        """Remove the hooks from the module and those inside; then no hook point fires."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for _, component in self.real_components.values():
            component.remove_hooks()

    def hook_points(self) -> Iterator[tuple[str, HookPoint]]:
        """Every hook point of this component and those inside, by name relative to it."""
        for name, value in vars(self).items():
            if isinstance(value, HookPoint):
                yield name, value
        for key, (_, component) in self.real_components.items():
            for name, point in component.hook_points():
                yield f"{key}.{name}", point

    def alias_names(self) -> Iterator[tuple[str, str]]:
        """Every alias of this component and those inside, with the hook it stands for, relative to it."""
        yield from self.aliases.items()
        for key, (_, component) in self.real_components.items():
            for alias, name in component.alias_names():
                yield f"{key}.{alias}", f"{key}.{name}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the wrapped module; its hooks fire as they do inside the model."""
        return self._wrapped()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle look these up before there is any state
            raise AttributeError(name)
        submodules = self.__dict__.get("submodules", {})
        if name in submodules:
            return submodules[name]
        if name in self.__dict__.get("aliases", {}):
            value: Any = self
            for part in self.aliases[name].split("."):
                value = getattr(value, part)
            return value
        return getattr(self._wrapped(), name)

    def _wrapped(self) -> nn.Module:
        original = self.__dict__.get("_original")
        if original is None:
            raise RuntimeError(
                f"{type(self).__name__} {self.__dict__.get('name')!r} wraps nothing yet; "
                "call set_original_component(module) first."
            )
        module: nn.Module = original
        return module

    def _attach(self, module: nn.Module) -> list[Removable]:
        """Feed the hook points from the module's forward hooks."""
        return [
            module.register_forward_pre_hook(show_input(self.hook_in), with_kwargs=True),
            module.register_forward_hook(self._show_output),
        ]

    def _show_output(self, module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self.hook_out(output[0]), *output[1:])
        return self.hook_out(output)


def show_input(
    point: Callable[[Tensor], Tensor], index: int = 0, keyword: str = "hidden_states"
) -> Callable[..., Any]:
    """Forward pre-hook that passes one input, positional or by keyword, through a hook point.

    Layers of Hugging Face models call their mixers with keywords and their norms without. A copy of the model
    copies the hook with its point, so that it does not fire the original's.
    """
    return partial(_show_input, point, index, keyword)


def _show_input(
    point: Callable[[Tensor], Tensor],
    index: int,
    keyword: str,
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
) -> Any:
    if kwargs is None:  # happens while another thread attaches or removes the hook: no run of ours
        return None
    given = args[index] if len(args) > index else kwargs.get(keyword)
    shown = point(given) if isinstance(given, Tensor) else given
    if shown is given:
        return None
    if len(args) > index:
        return (*args[:index], shown, *args[index + 1 :]), kwargs
    return args, {**kwargs, keyword: shown}
