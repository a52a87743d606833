"""The models that the explorer offers by name. Any other hub id or folder can be typed in."""

from dataclasses import dataclass

DEMO = "demo"
"""The name of the model that ships with this code."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One model that is known to work, with what a person needs to choose it.

    The sizes are those of its configuration; they are None for the embedded model, whose
    configuration lies next to its weights and can be read without a network.
    """

    name: str
    """What `load_bridge` takes."""
    label: str
    note: str
    parameters: int | None = None
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    head_dim: int | None = None
    state: int | None = None
    groups: int | None = None


def _mamba2_hf(size: str, parameters: int, layers: int, hidden: int, heads: int) -> CatalogueEntry:
    """Describe one of the five Mamba-2 models trained on the Pile, which differ in these sizes only."""
    return CatalogueEntry(
        name=f"AntonV/mamba2-{size}-hf",
        label=f"Mamba-2 {size.upper()}",
        note="The Mamba authors' model, trained on the Pile, in the Hugging Face format.",
        parameters=parameters,
        layers=layers,
        hidden=hidden,
        heads=heads,
        head_dim=64,
        state=128,
        groups=1,
    )


CATALOGUE: tuple[CatalogueEntry, ...] = (
    CatalogueEntry(
        name=DEMO,
        label="Demo (built in)",
        note="A small model that ships with the explorer: no download, no network.",
    ),
    _mamba2_hf("130m", 128_989_632, 24, 768, 24),
    _mamba2_hf("370m", 368_346_624, 48, 1024, 32),
    _mamba2_hf("780m", 780_161_280, 48, 1536, 48),
    _mamba2_hf("1.3b", 1_343_757_312, 48, 2048, 64),
    _mamba2_hf("2.7b", 2_702_599_680, 64, 2560, 80),
    CatalogueEntry(
        name="mistralai/Mamba-Codestral-7B-v0.1",
        label="Mamba-Codestral 7B",
        note="Mistral's Mamba-2 model for program code, with eight groups per layer.",
        parameters=7_285_403_648,
        layers=64,
        hidden=4096,
        heads=128,
        head_dim=64,
        state=128,
        groups=8,
    ),
)
"""The models to choose from, the embedded one first, then from small to large."""
